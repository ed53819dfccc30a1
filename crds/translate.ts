// From resources to the messages of Admin (proto/flowmesh/v1/admin.proto), the same for `flowmesh dev`,
// `flowmesh apply` and the operator. The results are plain objects of the shape of QueueSpec, StreamSpec
// and SchemaSpec; test/crds holds them to it.
//   T1. Unset stays unset: the server owns the defaults.
import type { Queue, Schema, Stream } from './types.ts';
import { parseDurationMs, parseRate, parseSizeBytes } from './values.ts';

const OVERLAPS = { Skip: 'skip', BufferOne: 'buffer_one', Allow: 'allow' } as const;

export function toQueueSpec({ metadata, spec }: Queue) {
  const { delivery = {}, deadLetter, deduplication, limits, retention, schedules } = spec;
  const { backoff } = delivery;
  return {
    name: spec.queueName ?? metadata.name,
    visibilityTimeoutMs: durationMs(delivery.visibilityTimeout),
    maxAttempts: delivery.maxAttempts,
    maxDeliveries: delivery.maxDeliveries,
    backoff: backoff && {
      type: backoff.type?.toLowerCase(),
      initialMs: durationMs(backoff.initial),
      maxMs: durationMs(backoff.max),
      jitter: backoff.jitter?.toLowerCase(),
    },
    deadLetterQueue: deadLetter?.queueName,
    deduplicationWindowMs: durationMs(deduplication?.window),
    maxDepth: limits?.maxDepth,
    retentionMs: durationMs(retention?.finished),
    retentionBytes: sizeBytes(retention?.size),
    timeoutMs: durationMs(delivery.timeout),
    limits: limits && {
      ratePerKey: rate(limits.ratePerKey),
      concurrencyPerKey: limits.concurrencyPerKey,
      rate: rate(limits.rate),
      concurrency: limits.concurrency,
    },
    fair: delivery.fair,
    priorityAgingMs: durationMs(delivery.priorityAging),
    onFull: limits?.onFull?.toLowerCase(),
    failedHead: delivery.failedHead?.toLowerCase(),
    schemaRef: spec.schemaRef,
    scaling: scaling(spec.scaling),
    schedules: schedules?.map(({ name, cron, timeZone, payload, overlap, catchUp }) => ({
      name,
      cron,
      timeZone,
      payload: payload === undefined ? undefined : Buffer.from(JSON.stringify(payload)),
      contentType: payload === undefined ? undefined : 'application/json',
      overlap: overlap && OVERLAPS[overlap],
      catchUpMs: durationMs(catchUp),
    })),
  };
}

export function toStreamSpec({ metadata, spec }: Stream) {
  return {
    name: spec.streamName ?? metadata.name,
    partitions: spec.partitions,
    retentionMs: durationMs(spec.retention?.time),
    retentionBytes: sizeBytes(spec.retention?.size),
    cleanup: spec.cleanup?.policy?.toLowerCase(),
    minCompactionLagMs: durationMs(spec.cleanup?.minCompactionLag),
    tombstoneRetentionMs: durationMs(spec.cleanup?.tombstoneRetention),
    schemaRef: spec.schemaRef,
    consumerGroups: spec.consumerGroups?.map((group) => ({
      name: group.name,
      scaling: scaling(group.scaling),
    })),
  };
}

/** Its name is that of the object: what schemaRef names. */
export function toSchemaSpec({ metadata, spec }: Schema) {
  return {
    name: metadata.name,
    compatibility: spec.compatibility?.toLowerCase(),
    versions: spec.versions.map(({ version, fields, jsonSchema, migrate }) => ({
      version,
      fields: json(fields),
      jsonSchema: json(jsonSchema),
      migrate: json(migrate),
    })),
  };
}

const ADOPTIONS = { IfIdentical: 'if_identical', Always: 'always', Never: 'never' } as const;

/** As DeclareQueue, DeclareStream and DeclareSchema take it. */
export const toAdoption = ({ spec }: Queue | Stream | Schema) =>
  ADOPTIONS[spec.adoptionPolicy ?? 'IfIdentical'];

/** What is scaled, and how, is the operator's business. */
const scaling = (asked: Queue['spec']['scaling']) =>
  asked && { scaleFrom: asked.scaleFrom, scaleTo: asked.scaleTo, basedOn: asked.basedOn };
const json = (value: unknown) => (value === undefined ? undefined : JSON.stringify(value));
const durationMs = (text: string | undefined) => (text === undefined ? undefined : parseDurationMs(text));
const rate = (text: string | undefined) => (text === undefined ? undefined : parseRate(text));
const sizeBytes = (text: string | undefined) => (text === undefined ? undefined : parseSizeBytes(text));
