// GET /v1/kv/{keyspace}/{key}/members: what is in a hash, a set or a sorted set, or was at a moment.
import { isUtf8 } from 'node:buffer';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import type { KvService } from '../../services.ts';
import type { Caller } from '../../shard/state-machine.ts';
import { fromBase64 } from './content.ts';
import { type AsOfQuery, asOfProperties, readAsOf } from './kv-watch.ts';
import { count, flag, list, open, params, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface Params {
  keyspace: string;
  key: string;
}

interface Query extends AsOfQuery {
  cursor?: string;
  limit?: number;
  offset?: number;
  reverse?: boolean;
  minScore?: number;
  maxScore?: number;
}

const schema = {
  operationId: 'listMembers',
  tags: ['kv'],
  summary: 'A page of the fields of a hash or the members of a set, or a range of a sorted set',
  params: params('keyspace', 'key'),
  querystring: {
    type: 'object',
    additionalProperties: false,
    properties: {
      cursor: text('Hash and set: of the last page'),
      limit: count('Members of one page at most', { maximum: 1000 }),
      offset: count('Sorted set: how many to skip'),
      reverse: flag('Sorted set: highest score first'),
      minScore: { type: 'number', description: 'Sorted set: lowest score, inclusive' },
      maxScore: { type: 'number', description: 'Sorted set: highest score, inclusive' },
      ...asOfProperties,
    },
  },
  response: {
    200: open({
      type: text('hash, set or zset'),
      revision: count('Revision of the key'),
      size: count('Members of the whole collection'),
      members: list(
        open({
          name: text('Field or member'),
          nameBase64: text('One that is not text'),
          value: text('Of a field'),
          valueBase64: text('One that is not text'),
          score: { type: 'number', description: 'In a sorted set' },
        }),
      ),
      cursor: text('Of the next page; absent: this is the last'),
      asOf: text('With asOf: for further pages of this state'),
    }),
    ...problems,
  },
};

export function addMemberRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  app.get<{ Params: Params; Querystring: Query }>(
    '/v1/kv/:keyspace/:key/members',
    { schema },
    ({ caller, params: place, query }) => listMembers(fabric.kv, caller, place, query),
  );
}

async function listMembers(kv: KvService, caller: Caller, { keyspace, key: name }: Params, query: Query) {
  const key = Buffer.from(name);
  const { limit, offset, reverse, minScore, maxScore } = query;
  const page = { key, limit, cursor: query.cursor && fromBase64(query.cursor, 'cursor') };
  const range = { key, limit, offset, reverse, minScore, maxScore };
  // What the key is, and what is in it, whatever it is: one of the three.
  const ops = [{ inspect: { key } }, { hashScan: page }, { setScan: page }, { sortedSetRange: range }];
  const request = pb.KvRequest.decode(
    pb.KvRequest.encode({ keyspace, ops: ops as pb.KvOpInput[], asOf: readAsOf(query) }).finish(),
  );
  const { results, asOf } = await kv.execute(caller, request);
  const [inspected, hash, set, zset] = results ?? [];
  throwOf(inspected);
  if (!inspected?.found) throw new FlowError('NOT_FOUND', `no key ${name} in keyspace ${keyspace}`);
  const { type, revision, integer: size } = inspected;
  const result = { hash, set, zset }[type as 'hash'];
  if (type === 'string') throw new FlowError('WRONG_TYPE', `the key holds a string, which has no members`);
  throwOf(result);
  const members = (result?.entries ?? []).map((entry) => ({
    ...textFields('name', entry.name),
    ...(type === 'hash' ? textFields('value', entry.value) : {}),
    ...(type === 'zset' ? { score: entry.score ?? 0 } : {}),
  }));
  return {
    type,
    revision,
    size,
    members,
    ...(result?.cursor?.length ? { cursor: Buffer.from(result.cursor).toString('base64') } : {}),
    ...(asOf ? { asOf } : {}),
  };
}

function throwOf(result: pb.KvResultInput | undefined): void {
  const { code, message } = result?.error ?? {};
  if (code) throw new FlowError(code as FlowError['code'], message ?? '');
}

function textFields(name: string, value: Uint8Array | null | undefined): Record<string, string> {
  const bytes = Buffer.from(value ?? []);
  return isUtf8(bytes) ? { [name]: bytes.toString() } : { [`${name}Base64`]: bytes.toString('base64') };
}
