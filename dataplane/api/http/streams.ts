// /v1/streams: declare, write, read, and the consumer groups.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import {
  contentFields,
  durabilityFields,
  envelopeFields,
  type HeaderBody,
  headerFields,
  keyFields,
  messageFields,
  readContent,
  readEnvelope,
  readHeaders,
  readKey,
} from './content.ts';
import { mutationOf } from './request.ts';
import { idempotencyHeaders, list, open, params, problems } from './schemas.ts';
import type { HttpContext } from './server.ts';
import * as schema from './stream-schemas.ts';

interface StreamParams {
  stream: string;
}

interface GroupParams extends StreamParams {
  group: string;
}

interface RecordBody extends HeaderBody {
  timestamp?: number;
  partition?: number;
  tombstone?: boolean;
  envelope?: pb.EnvelopeInput;
  [field: string]: unknown;
}

const tags = ['streams'];

export function addStreamRoutes(app: FastifyInstance, context: HttpContext): void {
  addDeclarations(app, context);
  addRecords(app, context);
  addGroups(app, context);
}

function streamFields(stream: pb.StreamInput) {
  const { mutation: _, ...spec } = stream.spec ?? {};
  return messageFields(pb.Stream, { ...stream, spec });
}

function addDeclarations(app: FastifyInstance, { fabric }: HttpContext): void {
  const { admin } = fabric;
  app.get(
    '/v1/streams',
    {
      schema: {
        operationId: 'listStreams',
        tags,
        summary: 'All streams with their partitions',
        response: { 200: open({ streams: list(schema.stream) }), ...problems },
      },
    },
    async ({ caller }) => {
      const { streams } = await admin.listStreams(caller);
      return { streams: (streams ?? []).map(streamFields) };
    },
  );

  app.put<{ Params: StreamParams; Body?: pb.StreamSpecInput }>(
    '/v1/streams/:stream',
    {
      schema: {
        operationId: 'declareStream',
        tags,
        summary: 'Create the stream or change its settings',
        params: params('stream'),
        headers: idempotencyHeaders,
        body: schema.declaration,
        response: { 200: schema.stream, ...problems },
      },
    },
    async (request) => {
      const name = request.params.stream;
      const { schemaRef, consumerGroups, ...body } = request.body ?? {};
      const ref = schemaRef ? pb.SchemaRef.create(schemaRef) : null;
      const groups = (consumerGroups ?? []).map(newConsumerGroup);
      const mutation = mutationOf(request);
      const spec = pb.StreamSpec.create({
        ...{ ...body, name, schemaRef: ref, consumerGroups: groups, mutation },
      });
      return streamFields(await admin.applyStream(request.caller, spec));
    },
  );

  app.get<{ Params: StreamParams }>(
    '/v1/streams/:stream',
    {
      schema: {
        operationId: 'getStream',
        tags,
        summary: 'One stream with its partitions',
        params: params('stream'),
        response: { 200: schema.stream, ...problems },
      },
    },
    async ({ caller, params }) =>
      streamFields(await admin.getStream(caller, pb.GetStreamRequest.create({ name: params.stream }))),
  );
}

const newConsumerGroup = ({ name, scaling }: pb.ConsumerGroupSpecInput) =>
  pb.ConsumerGroupSpec.create({ name, scaling: scaling ? pb.Scaling.create(scaling) : null });

function newRecord(body: RecordBody, traceparent: string | undefined): pb.NewRecord {
  const content = body.tombstone ? noContent(body) : readContent(body, 'value');
  return pb.NewRecord.create({
    key: readKey(body),
    value: content.bytes,
    contentType: content.contentType,
    tombstone: body.tombstone,
    headers: readHeaders(body),
    envelope: readEnvelope(body.envelope, traceparent),
    timeMs: body.timestamp,
    partition: body.partition,
  });
}

function noContent(body: RecordBody) {
  const given = ['value', 'valueBase64', 'contentType'].find((field) => Object.hasOwn(body, field));
  if (given === undefined) return { bytes: undefined, contentType: undefined };
  throw new FlowError('INVALID_ARGUMENT', `a tombstone has no ${given}`);
}

function recordFields(record: pb.RecordInput) {
  return {
    partition: record.partition ?? 0,
    offset: record.offset ?? 0,
    timestamp: record.timestampMs ?? 0,
    ...keyFields(record.key),
    ...(record.tombstone
      ? { value: null, tombstone: true }
      : contentFields('value', record.value, record.contentType)),
    ...headerFields(record.headers),
    ...envelopeFields(record.envelope),
    ...(record.producerTimeMs ? { producerTimestamp: record.producerTimeMs } : {}),
  };
}

function addRecords(app: FastifyInstance, { fabric }: HttpContext): void {
  const { streams } = fabric;
  app.post<{ Params: StreamParams; Body: { records: RecordBody[] } }>(
    '/v1/streams/:stream/records',
    {
      schema: {
        operationId: 'writeRecords',
        tags,
        summary: 'Append records',
        params: params('stream'),
        headers: idempotencyHeaders,
        body: schema.newRecords,
        response: { 200: schema.written, ...problems },
      },
    },
    async (request) => {
      const { traceparent } = request.caller;
      const message = pb.PublishRequest.create({
        stream: request.params.stream,
        records: request.body.records.map((record) => newRecord(record, traceparent)),
        mutation: mutationOf(request),
      });
      const { offsets, durability } = await streams.publish(request.caller, message);
      const written = (offsets ?? []).map(({ partition, offset }) => ({
        partition: partition ?? 0,
        offset: offset ?? 0,
      }));
      return { offsets: written, ...durabilityFields(durability) };
    },
  );

  app.get<{
    Params: StreamParams & { partition: number };
    Querystring: { offset?: number; timestamp?: number; max?: number };
  }>(
    '/v1/streams/:stream/partitions/:partition/records',
    {
      schema: {
        operationId: 'readRecords',
        tags,
        summary: 'Records of one partition, from an offset or a time on; unset: from its start',
        params: params('stream', 'partition'),
        querystring: schema.readQuery,
        response: { 200: schema.records, ...problems },
      },
    },
    async ({ caller, params, query }) => {
      const { offset, timestamp, max } = query;
      const from = timestamp === undefined ? { offset } : { timestampMs: timestamp };
      const request = pb.ReadRequest.create({ ...params, ...from, max });
      const { records, nextOffset, endOffset } = await streams.read(caller, request);
      return {
        records: (records ?? []).map(recordFields),
        nextOffset: nextOffset ?? 0,
        endOffset: endOffset ?? 0,
      };
    },
  );
}

function addGroups(app: FastifyInstance, { fabric }: HttpContext): void {
  const { streams } = fabric;
  app.get<{ Params: StreamParams }>(
    '/v1/streams/:stream/groups',
    {
      schema: {
        operationId: 'listGroups',
        tags,
        summary: 'Consumer groups of a stream',
        params: params('stream'),
        response: { 200: open({ groups: list(schema.group) }), ...problems },
      },
    },
    async ({ caller, params }) => {
      const { groups } = await streams.listGroups(caller, pb.ListGroupsRequest.create(params));
      return { groups: (groups ?? []).map((group) => messageFields(pb.Group, group)) };
    },
  );

  app.get<{ Params: GroupParams }>(
    '/v1/streams/:stream/groups/:group',
    {
      schema: {
        operationId: 'getGroup',
        tags,
        summary: 'One consumer group: members, positions, lag',
        params: params('stream', 'group'),
        response: { 200: schema.group, ...problems },
      },
    },
    async ({ caller, params }) =>
      messageFields(pb.Group, await streams.getGroup(caller, pb.GetGroupRequest.create(params))),
  );

  app.post<{
    Params: GroupParams;
    Body: { partition?: number; offset?: number; timestamp?: number; position?: string };
  }>(
    '/v1/streams/:stream/groups/:group/seek',
    {
      schema: {
        operationId: 'seekGroup',
        tags,
        summary: 'Move a group to an offset, a time, or an end of the log',
        params: params('stream', 'group'),
        headers: idempotencyHeaders,
        body: schema.seek,
        response: { 200: open({ partitions: list(schema.groupPartition) }), ...problems },
      },
    },
    async (request) => {
      const { timestamp, ...to } = request.body;
      const message = pb.SeekRequest.create({
        ...request.params,
        ...to,
        ...(timestamp === undefined ? {} : { timestampMs: timestamp }),
        mutation: mutationOf(request),
      } as pb.SeekRequestInput);
      return messageFields(pb.SeekResponse, await streams.seek(request.caller, message));
    },
  );
}
