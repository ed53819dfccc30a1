// /v1/kv: the bytes of one key, with their content type. The revision is the ETag: If-Match makes a write a
// compare-and-set, If-None-Match: * makes it a create.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { durabilityFields } from './content.ts';
import { addMemberRoutes } from './kv-members.ts';
import { type AsOfQuery, addKeyspaceRoutes, asOfProperties, readAsOf } from './kv-watch.ts';
import { header, mutationOf } from './request.ts';
import { anyBytes, count, durability, open, params, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface KeyParams {
  keyspace: string;
  key: string;
}

const OCTETS = 'application/octet-stream';
/** What a header may hold; a content type stored over gRPC can be anything. */
const HEADER_VALUE = /^[\t\x20-\x7e]{1,255}$/;

const conditions = {
  type: 'object',
  properties: {
    'if-match': text('The revision that the key must have, as in ETag; *: it must exist'),
    'if-none-match': text('*: the key must not exist'),
    'idempotency-key': text('A repeat of the request with the same key gets the first answer', {
      minLength: 1,
      maxLength: 255,
    }),
    'flowmesh-cause': text('Whose effect this is: an ordinal and a delivery id, for example: 1 0-1-2s@7'),
  },
};

export function addKvRoutes(app: FastifyInstance, context: HttpContext): void {
  const { fabric } = context;
  addKeyspaceRoutes(app, context);
  addMemberRoutes(app, context);
  // Values are bytes, whatever they are called.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: LIMITS.valueBytes }, (_request, body, done) =>
    done(null, body),
  );

  async function execute(
    request: FastifyRequest<{ Params: KeyParams }>,
    op: pb.KvOpInput,
    { writes, asOf = null }: { writes: boolean; asOf?: pb.KvAsOf | null },
  ) {
    const response = await fabric.kv.execute(
      request.caller,
      pb.KvRequest.create({
        keyspace: request.params.keyspace,
        ops: [pb.KvOp.create(op)],
        mutation: writes ? mutationOf(request) : null,
        asOf,
      }),
    );
    const [result] = response.results ?? [];
    const failure = response.error ?? result?.error;
    if (failure?.code) throw fromMessage(failure);
    return { result: result ?? {}, durability: response.durability };
  }

  const key = ({ params }: { params: KeyParams }) => Buffer.from(params.key);
  const missing = ({ params }: { params: KeyParams }) =>
    new FlowError('NOT_FOUND', `no key ${params.key} in keyspace ${params.keyspace}`);

  app.put<{ Params: KeyParams; Querystring: { ttl?: number } }>(
    '/v1/kv/:keyspace/:key',
    {
      bodyLimit: LIMITS.valueBytes,
      schema: {
        operationId: 'putKey',
        tags: ['kv'],
        summary: 'Store the bytes of the body under the key',
        params: params('keyspace', 'key'),
        headers: conditions,
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            ttl: {
              type: 'number',
              exclusiveMinimum: 0,
              description: 'Time to live, in seconds; unset: none',
            },
          },
        },
        response: {
          200: open({ revision: count('Revision of the key'), durability }, ['revision']),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const { ttl } = request.query;
      const { ifRevision, ifPresent, ifAbsent } = readConditions(request);
      const set = pb.KvSet.create({
        key: key(request),
        value: (request.body as Buffer | undefined) ?? Buffer.alloc(0),
        contentType: header(request, 'content-type') ?? OCTETS,
        ttlMs: ttl === undefined ? 0 : Math.max(1, Math.round(ttl * 1000)),
        ifRevision,
        ifPresent,
        ifAbsent,
      });
      const { result, durability } = await execute(request, { set }, { writes: true });
      const isConditional = ifRevision > 0 || ifPresent || ifAbsent;
      if (isConditional && !result.found) throw mismatch(request, result);
      reply.header('etag', etag(result));
      return { revision: result.revision ?? 0, ...durabilityFields(durability) };
    },
  );

  app.get<{ Params: KeyParams; Querystring: AsOfQuery }>(
    '/v1/kv/:keyspace/:key',
    {
      schema: {
        operationId: 'getKey',
        tags: ['kv'],
        summary: 'The bytes of the key, with the content type that they were stored with',
        params: params('keyspace', 'key'),
        querystring: { type: 'object', additionalProperties: false, properties: asOfProperties },
        response: {
          200: { description: 'The value', content: anyBytes },
          304: { type: 'null', description: 'Not modified' },
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const get = pb.KvGet.create({ key: key(request) });
      const asOf = readAsOf(request.query);
      const { result } = await execute(request, { get }, { writes: false, asOf });
      if (!result.found) throw missing(request);
      reply.header('etag', etag(result));
      if (header(request, 'if-none-match') === etag(result)) return reply.code(304).send();
      const type = result.contentType ?? '';
      reply.header('content-type', HEADER_VALUE.test(type) ? type : OCTETS);
      return reply.send(Buffer.from(result.value ?? Buffer.alloc(0)));
    },
  );

  app.delete<{ Params: KeyParams }>(
    '/v1/kv/:keyspace/:key',
    {
      schema: {
        operationId: 'deleteKey',
        tags: ['kv'],
        summary: 'Delete the key',
        params: params('keyspace', 'key'),
        headers: conditions,
        response: { 204: { type: 'null', description: 'Deleted' }, ...problems },
      },
    },
    async (request, reply) => {
      const { ifRevision } = readConditions(request);
      const op = pb.KvDelete.create({ key: key(request), ifRevision });
      const { result } = await execute(request, { delete: op }, { writes: true });
      if (result.found) return reply.code(204).send();
      throw ifRevision > 0 ? mismatch(request, result) : missing(request);
    },
  );
}

const etag = ({ revision }: pb.KvResultInput) => `"${revision ?? 0}"`;

function mismatch({ params }: { params: KeyParams }, { revision }: pb.KvResultInput): FlowError {
  const present = revision ? `has revision ${revision}` : 'does not exist';
  return new FlowError('REVISION_MISMATCH', `key ${params.key} ${present}`);
}

function fromMessage({ code, message, retryAfterMs }: pb.ErrorInput): FlowError {
  const options = retryAfterMs ? { retryAfterMs } : {};
  return new FlowError(code as FlowError['code'], message ?? '', options);
}

function readConditions(request: FastifyRequest) {
  const ifMatch = header(request, 'if-match');
  const ifNoneMatch = header(request, 'if-none-match');
  const revision = /^"?([1-9]\d{0,15})"?$/.exec(ifMatch ?? '')?.[1];
  if (ifMatch !== undefined && ifMatch !== '*' && revision === undefined) {
    throw new FlowError(
      'INVALID_ARGUMENT',
      'if-match must be one revision as in ETag, for example "42", or *',
    );
  }
  if (ifNoneMatch !== undefined && ifNoneMatch !== '*') {
    throw new FlowError('INVALID_ARGUMENT', 'if-none-match must be * on a write');
  }
  return { ifRevision: Number(revision ?? 0), ifPresent: ifMatch === '*', ifAbsent: ifNoneMatch === '*' };
}
