// GET /v1/kv/{keyspace}: a page of keys, or with ?watch every change of them, on and on: as lines of JSON, or
// as server-sent events to who accepts only those (a browser's EventSource, which comes back by itself with
// Last-Event-ID).
//   W1. What follows the head of the response cannot change its status: a watch that ends says why in its
//       last line.
//   W2. The session is told once that nobody reads any more, however that came.
import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { KvService, WatchSession } from '../../services.ts';
import { closing } from '../refusals.ts';
import { contentFields, fromBase64, keyFields } from './content.ts';
import { encodeJson } from './json.ts';
import { header } from './request.ts';
import { count, flag, list, open, params, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

export interface AsOfQuery {
  asOf?: string;
  asOfTimeMs?: number;
  asOfRevision?: number;
}

export const asOfProperties = {
  asOf: text('The state at this cursor (of a change, or asOf of an answer), or `now`, instead of the newest'),
  asOfTimeMs: count('The state at the end of this millisecond'),
  asOfRevision: count('The state right behind the change with this revision; not for pages of keys'),
};

/** null: the newest state. */
export function readAsOf({ asOf, asOfTimeMs, asOfRevision }: AsOfQuery): pb.KvAsOf | null {
  const given = [asOf, asOfTimeMs, asOfRevision].filter((each) => each !== undefined).length;
  if (given === 0) return null;
  if (given > 1)
    throw new FlowError('INVALID_ARGUMENT', 'asOf, asOfTimeMs and asOfRevision exclude each other');
  const moment: pb.KvAsOfInput =
    asOfTimeMs !== undefined
      ? { timeMs: asOfTimeMs }
      : asOfRevision !== undefined
        ? { revision: asOfRevision }
        : asOf === 'now'
          ? { now: true }
          : { cursor: asOf };
  return pb.KvAsOf.create(moment);
}

interface Query extends AsOfQuery {
  watch?: boolean;
  prefix?: string;
  key?: string;
  cursor?: string;
  limit?: number;
  type?: string;
  afterRevision?: number;
  fromTimeMs?: number;
}

const querystring = {
  type: 'object',
  additionalProperties: false,
  properties: {
    watch: flag('Every change from now on, instead of the keys: JSON lines, or server-sent events'),
    prefix: text('Only keys that begin with this'),
    key: text('Watch this key only'),
    cursor: text('Of the last page; or of the last change, then the watch goes on behind it'),
    limit: count('Keys of one page at most', { maximum: 1000 }),
    type: text('Only keys of this type: string, hash, set or zset'),
    afterRevision: count('Watch: begin behind the change that gave the key this revision'),
    fromTimeMs: count('Watch: begin with the first change at or after this time'),
    ...asOfProperties,
  },
};

const entry = open({ key: text('Key'), keyBase64: text('Key that is not text'), type: text('Type') });

export function addKeyspaceRoutes(app: FastifyInstance, { fabric, drains }: HttpContext): void {
  app.get<{ Params: { keyspace: string }; Querystring: Query }>(
    '/v1/kv/:keyspace',
    {
      schema: {
        operationId: 'listKeys',
        tags: ['kv'],
        summary: 'A page of keys; with watch: their changes as they come',
        params: params('keyspace'),
        querystring,
        response: {
          200: open({
            keys: list(entry),
            cursor: text('Of the next page; absent: this is the last'),
            asOf: text('With asOf: for further pages of this state, or for a watch from it'),
          }),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const { watch, key, afterRevision, fromTimeMs } = request.query;
      if (watch) return watchKeys(request, reply, { kv: fabric.kv, drains });
      if (key === undefined && afterRevision === undefined && fromTimeMs === undefined) {
        return listKeys(request, fabric.kv);
      }
      throw new FlowError('INVALID_ARGUMENT', 'key, afterRevision and fromTimeMs are for watch=true');
    },
  );
}

type KeysRequest = FastifyRequest<{ Params: { keyspace: string }; Querystring: Query }>;

async function listKeys({ caller, params: { keyspace }, query }: KeysRequest, kv: KvService) {
  const scan = pb.KvScan.create({
    prefix: Buffer.from(query.prefix ?? ''),
    cursor: query.cursor === undefined ? Buffer.alloc(0) : fromBase64(query.cursor, 'cursor'),
    limit: query.limit,
    type: query.type,
  });
  const request = pb.KvRequest.create({ keyspace, ops: [pb.KvOp.create({ scan })], asOf: readAsOf(query) });
  const { results, asOf } = await kv.execute(caller, request);
  const [result] = results ?? [];
  const { error, entries, cursor } = result ?? {};
  if (error?.code) throw new FlowError(error.code as FlowError['code'], error.message ?? '');
  const keys = (entries ?? []).map(({ name, type }) => ({ ...keyFields(name), type }));
  return {
    keys,
    ...(cursor?.length ? { cursor: Buffer.from(cursor).toString('base64') } : {}),
    ...(asOf ? { asOf } : {}),
  };
}

interface WatchContext {
  readonly kv: KvService;
  readonly drains: Set<() => void>;
}

async function watchKeys(request: KeysRequest, reply: FastifyReply, { kv, drains }: WatchContext) {
  const { query, caller, params } = request;
  if (query.limit !== undefined || query.type !== undefined || readAsOf(query) !== null)
    throw new FlowError('INVALID_ARGUMENT', 'limit, type and asOf are for pages of keys, not for a watch');
  const accept = header(request, 'accept') ?? '';
  const form = accept.includes('text/event-stream') ? EVENTS : LINES;
  const message = pb.KvWatchRequest.create({
    keyspace: params.keyspace,
    key: Buffer.from(query.key ?? ''),
    prefix: Buffer.from(query.prefix ?? ''),
    cursor: header(request, 'last-event-id') ?? query.cursor,
    afterRevision: query.afterRevision,
    fromTimeMs: query.fromTimeMs,
  });
  let session: WatchSession | undefined;
  const end = (error: FlowError) => {
    body.push(form.failure(error));
    body.push(null);
  };
  const drain = () => end(closing());
  const body = new Readable({
    read: () => session?.resume(),
    destroy: (error, done) => {
      drains.delete(drain);
      session?.close();
      done(error);
    },
  });
  const send = (response: pb.KvWatchResponseInput) => !body.destroyed && body.push(form.response(response));
  session = await kv.openWatch(caller, message, send, end);
  // The client may have left meanwhile.
  if (reply.raw.destroyed) session.close();
  drains.add(drain);
  reply.header('content-type', form.type);
  return reply.send(body);
}

interface Form {
  readonly type: string;
  response(message: pb.KvWatchResponseInput): string;
  failure(error: FlowError): string;
}

const failureFields = ({ code, message, retryAfterMs }: FlowError) => ({
  error: { code, detail: message, retryAfterMs },
});

const LINES: Form = {
  type: 'application/x-ndjson',
  response({ changes, cursor }) {
    if (!changes?.length) return `${encodeJson({ cursor })}\n`;
    return changes.map((change) => `${encodeJson(changeFields(change))}\n`).join('');
  },
  failure: (error) => `${encodeJson(failureFields(error))}\n`,
};

const EVENTS: Form = {
  type: 'text/event-stream',
  response({ changes, cursor }) {
    if (!changes?.length) return `id: ${cursor}\nevent: position\ndata: ${encodeJson({ cursor })}\n\n`;
    return changes
      .map((each) => `id: ${each.cursor}\nevent: change\ndata: ${encodeJson(changeFields(each))}\n\n`)
      .join('');
  },
  failure: (error) => `event: error\ndata: ${encodeJson(failureFields(error))}\n\n`,
};

function changeFields(change: pb.KvChangeInput) {
  const { key, reason, type, revision, value, contentType, expireAtMs, members } = change;
  const { shard, position, timeMs, cursor } = change;
  const isString = reason === 'set' && type === 'string';
  return {
    ...keyFields(key),
    reason,
    type,
    ...(reason === 'set' ? { revision } : {}),
    ...(isString ? contentFields('value', value, contentType) : {}),
    ...(members?.length ? { members: members.map(memberFields) } : {}),
    ...(expireAtMs ? { expireAtMs } : {}),
    shard: shard ?? 0,
    position,
    timeMs,
    cursor,
  };
}

function memberFields({ name, value, score, found }: pb.KvEntryInput) {
  const bytes = Buffer.from(name ?? []);
  const named = isUtf8(bytes) ? { name: bytes.toString() } : { nameBase64: bytes.toString('base64') };
  if (!found) return { ...named, removed: true };
  if (score !== undefined && score !== null) return { ...named, score };
  return value ? { ...named, ...contentFields('value', value, undefined) } : named;
}
