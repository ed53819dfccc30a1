// JSON Schema pieces that several routes share. They check requests and are the OpenAPI document at the
// same time.
import { type ErrorCode, FlowError } from '@flowmesh/protocol';
import { Ajv, type ErrorObject, type Schema } from 'ajv';
import type { FastifyInstance } from 'fastify';

export interface JsonSchema {
  [keyword: string]: unknown;
}

export const text = (description: string, more: JsonSchema = {}): JsonSchema => ({
  type: 'string',
  description,
  ...more,
});

export const count = (description: string, more: JsonSchema = {}): JsonSchema => ({
  type: 'integer',
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description,
  ...more,
});

export const number = (description: string): JsonSchema => ({ type: 'number', minimum: 0, description });

export const flag = (description: string): JsonSchema => ({ type: 'boolean', description });

export const list = (items: JsonSchema, more: JsonSchema = {}): JsonSchema => ({
  type: 'array',
  items,
  ...more,
});

export const anyJson = (description: string): JsonSchema => ({ description });

/** For requests: unknown fields are refused, because a misspelt option must not be ignored. */
export const closed = (properties: JsonSchema, required: string[] = []): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...(required.length > 0 ? { required } : {}),
});

/** For responses: clients must expect new fields. */
export const open = (properties: JsonSchema, required: string[] = []): JsonSchema => ({
  type: 'object',
  properties,
  ...(required.length > 0 ? { required } : {}),
});

export const params = (...names: string[]): JsonSchema => ({
  type: 'object',
  properties: Object.fromEntries(names.map((name) => [name, PARAMS[name] ?? text(name)])),
  required: names,
});

const PARAMS: Record<string, JsonSchema> = {
  keyspace: text('Keyspace; `default` if you have none of your own'),
  key: text('Key, percent-encoded'),
  queue: text('Name of the queue'),
  id: text('Job id'),
  schema: text('Name of the schema'),
  stream: text('Name of the stream'),
  partition: count('Partition'),
  group: text('Name of the consumer group'),
};

/** Of queues and streams. */
export const schemaRef = closed(
  {
    name: text('A schema that is declared'),
    version: count('Only this version; 0: the newest'),
  },
  ['name'],
);

/** Of queues and consumer groups. */
export const scaling = closed(
  {
    scaleFrom: count('Workers at least; default 1', { maximum: 100_000 }),
    scaleTo: count('Workers at most', { minimum: 1, maximum: 100_000 }),
    basedOn: list(text('A condition, such as message_age > 30s'), { maxItems: 16 }),
  },
  ['scaleTo'],
);

/** Of what the last seconds were like. */
export const speed = {
  busyWorkers: count('Workers that have something to do'),
  arrivalsPerSecond: number('What became ready or was written'),
  completionsPerSecond: number('What was completed or committed'),
  processingMs: number('From lease to acknowledgement, moving average; 0: unknown'),
  processingP50Ms: number('The same, within which half was done'),
  processingP95Ms: number('The same, of 95 %'),
  processingP99Ms: number('The same, of 99 %'),
  throughputPerWorker: number('Completed per second by one worker that is busy; 0: unknown'),
  workersWanted: {
    type: ['integer', 'null'],
    description: 'Workers that are needed; null: nothing asks for it, or it is not known',
  },
};

export const durability = text('How safe the write is: fsync, os or memory');

export const headers: JsonSchema = {
  type: 'object',
  additionalProperties: { type: 'string' },
  maxProperties: 64,
  description: 'Headers that are text',
};

export const headersBase64: JsonSchema = { ...headers, description: 'Headers that are not text, in Base64' };

export const envelope = closed({
  traceparent: text('W3C trace context'),
  causationId: text('Id of the message that caused this one'),
  correlationId: text('Id that everything of one business transaction shares'),
  tags: list({ type: 'string' }, { maxItems: 64 }),
  schema: text('name@version'),
});

export const idempotencyHeaders: JsonSchema = {
  type: 'object',
  properties: {
    'idempotency-key': text('A repeat of the request with the same key gets the first answer', {
      minLength: 1,
      maxLength: 255,
    }),
    'flowmesh-cause': text('Whose effect this is: an ordinal and a delivery id, for example: 1 0-1-2s@7'),
  },
};

const problem = (description: string): JsonSchema => ({
  description,
  content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
});

/** Responses of every route that are errors. */
export const problems: JsonSchema = {
  '4xx': problem('The request cannot be done'),
  '5xx': problem('The server cannot do it now'),
};

/** Bytes of any type, in a request or response body. */
export const anyBytes: JsonSchema = { '*/*': { schema: { type: 'string', format: 'binary' } } };

export const problemSchema: JsonSchema = {
  $id: 'Problem',
  ...open(
    {
      type: text('urn:flowmesh:error:<code>'),
      title: text('What kind of error this is'),
      status: count('HTTP status'),
      detail: text('What happened, with the values'),
      code: text('Stable code; branch on this'),
      retryAfterMs: count('When to try again'),
    },
    ['type', 'title', 'status', 'detail', 'code'],
  ),
};

/** Keywords by which a schema asks for something: without them a body may be left out altogether. */
const DEMANDS = ['required', 'oneOf', 'minProperties'];

/**
 * Bodies are taken as they are; parameters arrive as text and are converted. `allErrors` and `$data` stay
 * off: both have been ways to make a validator work hard.
 */
export function useAjv(app: FastifyInstance): void {
  const options = {
    allErrors: false,
    strict: true,
    strictTypes: false,
    useDefaults: true,
    strictRequired: false,
  } as const;
  const bodies = new Ajv({ ...options, coerceTypes: false });
  const parameters = new Ajv({ ...options, coerceTypes: true });
  app.setValidatorCompiler<Schema>(({ schema, httpPart }) => {
    const validate = (httpPart === 'body' ? bodies : parameters).compile(schema);
    const isOptional = !DEMANDS.some((keyword) => keyword in (schema as object));
    return (data: unknown) => {
      if (httpPart === 'body' && isOptional && (data === undefined || data === null)) return true;
      if (!validate(data)) return { error: asFailure(httpPart, validate.errors?.[0]) };
      const error = httpPart === 'body' ? undefined : infiniteIn(data);
      return error === undefined ? true : { error };
    };
  });
}

/** Fields whose limits have codes of their own (docs/reference/defaults.md). */
const LIMIT_CODES: Record<string, ErrorCode> = {
  headers: 'HEADERS_TOO_LARGE',
  headersBase64: 'HEADERS_TOO_LARGE',
  records: 'BATCH_TOO_LARGE',
};

/** fastify passes an Error on as it is, so it carries our code at once. */
function asFailure(part: string | undefined, failure: ErrorObject | undefined): FlowError {
  const unknown = failure?.params['additionalProperty'];
  const what = unknown === undefined ? failure?.message : `has an unknown field "${unknown}"`;
  const field = failure?.keyword.startsWith('max') ? failure.instancePath.split('/').at(-1) : undefined;
  const code = LIMIT_CODES[field ?? ''] ?? 'INVALID_ARGUMENT';
  return new FlowError(code, `${part ?? 'request'}${failure?.instancePath ?? ''} ${what}`);
}

/** '1e309' becomes Infinity, which ajv takes for an integer and does not compare with any limit. */
function infiniteIn(parameters: unknown): FlowError | undefined {
  for (const [name, value] of Object.entries(parameters as object)) {
    if (value === Infinity || value === -Infinity)
      return new FlowError('INVALID_ARGUMENT', `${name} must be a finite number`);
  }
  return undefined;
}
