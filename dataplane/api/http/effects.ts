// GET /v1/effects: what the handling of a job or record did.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { contentFields, keyFields } from './content.ts';
import { count, flag, list, open, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface Query {
  job?: string;
  delivery?: string;
  stream?: string;
  partition?: number;
  offset?: number;
  cursor?: string;
  limit?: number;
  values?: boolean;
}

const effect = open(
  {
    deliveryId: text('The delivery that did it'),
    ordinal: count('As what number of its effects'),
    kind: text(
      'enqueued, acked, nacked, released, extended, cancelled, purged, written, committed, set, ...',
    ),
    shard: count('Where'),
    position: count('Journal entry of the shard; a transaction has one'),
    timeMs: count('When'),
    queue: text('Of a job'),
    jobId: text('Of a job'),
    stream: text('Of a record or commit'),
    partition: count('Of a record or commit'),
    offset: count('That was written or committed'),
    group: text('Of a commit'),
    keyspace: text('Of a key'),
    key: text('Key'),
    keyBase64: text('Key that is not text'),
    type: text('Of the key: string, hash, set or zset'),
    revision: count('Of the key afterwards; 0: it is gone'),
    members: list(open({}), { description: 'Fields and members that were put (found) or removed' }),
    contentType: text('With values'),
  },
  ['deliveryId', 'ordinal', 'kind', 'shard', 'position', 'timeMs'],
);

const schema = {
  operationId: 'listEffects',
  tags: ['history'],
  summary: 'What the handling of a job or record did',
  querystring: {
    type: 'object',
    additionalProperties: false,
    properties: {
      job: text('Id of a job: what all its deliveries did'),
      delivery: text('One delivery: <job id>@<lease epoch>, <stream>/<partition>/<offset>@<group>/<epoch>'),
      stream: text('With partition and offset: what all deliveries of the record did'),
      partition: count('Of the record'),
      offset: count('Of the record'),
      cursor: text('Of the last page'),
      limit: count('Effects of one page at most', { maximum: 1000 }),
      values: flag('With payloads and values'),
    },
  },
  response: {
    200: open(
      {
        effects: list(effect),
        cursor: { type: ['string', 'null'], description: 'Of the next page; null: this is the last' },
        knownSinceMs: count('What happened before may be forgotten; 0: nothing is'),
      },
      ['effects', 'cursor', 'knownSinceMs'],
    ),
    ...problems,
  },
};

export function addEffectRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  app.get<{ Querystring: Query }>('/v1/effects', { schema }, async ({ caller, query }) => {
    const { cursor, limit, values: withValues } = query;
    const request = pb.ListEffectsRequest.create({ ...placeOf(query), cursor, limit, withValues });
    const { effects, ...rest } = await fabric.history.listEffects(caller, request);
    return {
      effects: (effects ?? []).map((each) => effectFields(each, withValues === true)),
      cursor: rest.cursor || null,
      knownSinceMs: rest.knownSinceMs ?? 0,
    };
  });
}

function placeOf({ job, delivery, stream, partition, offset }: Query): pb.ListEffectsRequestInput {
  const record = [stream, partition, offset].filter((each) => each !== undefined).length;
  const ways = [job, delivery].filter((each) => each !== undefined).length + (record > 0 ? 1 : 0);
  if (ways !== 1 || (record !== 0 && record !== 3)) {
    throw new FlowError(
      'INVALID_ARGUMENT',
      'give one of: job, delivery, or stream with partition and offset',
    );
  }
  if (job !== undefined) return { jobId: job };
  if (delivery !== undefined) return { deliveryId: delivery };
  return { record: { stream, partition, offset } };
}

function effectFields(effect: pb.EffectInput, withValues: boolean) {
  const { deliveryId, ordinal = 0, kind, shard = 0, position, timeMs, payload, contentType } = effect;
  const common = { deliveryId, ordinal, kind, shard, position, timeMs };
  const { change } = effect;
  if (change) {
    const { key, type, revision, value, members } = change;
    const isString = withValues && value && value.length > 0;
    return {
      ...common,
      keyspace: effect.keyspace,
      ...keyFields(key),
      type,
      revision: revision ?? 0,
      ...(isString ? contentFields('value', value, change.contentType) : {}),
      ...(members?.length ? { members: members.map(memberFields) } : {}),
    };
  }
  const content = contentType ? contentFields('payload', payload, contentType) : {};
  if (effect.stream) {
    const { stream, partition = 0, offset = 0, group } = effect;
    return { ...common, stream, partition, offset, ...(group ? { group } : {}), ...content };
  }
  return { ...common, queue: effect.queue, ...(effect.jobId ? { jobId: effect.jobId } : {}), ...content };
}

const memberFields = ({ name, value, score, found }: pb.KvEntryInput) => ({
  ...keyFields(name, 'name'),
  found: found ?? false,
  ...(value?.length ? keyFields(value, 'value') : {}),
  ...(score ? { score } : {}),
});
