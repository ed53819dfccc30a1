// From resources to the messages of Admin (proto/flowmesh/v1/admin.proto), the same for `flowmesh dev`,
// `flowmesh apply` and the operator. The results are plain objects of the shape of QueueSpec and StreamSpec;
// test/crds holds them to it.
//   T1. Unset stays unset: the server owns the defaults.
//   T2. What this version does not serve is accepted, so that one manifest fits all versions, and named in a
//        notice.
import type { FieldProblem } from './problems.ts';
import type { Queue, Resource, Stream } from './types.ts';
import { parseDurationMs, parseRate, parseSizeBytes } from './values.ts';
import type { Path } from './yaml-source.ts';

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
  };
}

const durationMs = (text: string | undefined) => (text === undefined ? undefined : parseDurationMs(text));
const rate = (text: string | undefined) => (text === undefined ? undefined : parseRate(text));
const sizeBytes = (text: string | undefined) => (text === undefined ? undefined : parseSizeBytes(text));

/** Fields of a valid resource that have no effect in this version. */
export function notices(resource: Resource): FieldProblem[] {
  switch (resource.kind) {
    case 'Queue': {
      const { schemaRef, scaling } = resource.spec;
      return [
        ...unserved(['schemaRef'], schemaRef, 'payloads are not checked'),
        ...unserved(['scaling'], scaling, 'workers are not scaled'),
      ];
    }
    case 'Stream': {
      const { consumerGroups = [], schemaRef } = resource.spec;
      return [
        ...unserved(['schemaRef'], schemaRef, 'values are not checked'),
        ...consumerGroups.flatMap(({ scaling, startFrom }, index) => {
          const latest = startFrom === 'Latest' || undefined;
          return [
            ...unserved(['consumerGroups', index, 'startFrom'], latest, 'its first member decides'),
            ...unserved(['consumerGroups', index, 'scaling'], scaling, 'members are not scaled'),
          ];
        }),
      ];
    }
    case 'Schema':
      return [{ path: [], message: 'schemas are not enforced in this version', cure: later }];
    case 'FlowMeshCluster':
      return [{ path: [], message: 'a cluster is made by the operator, not here', cure: later }];
  }
}

const later = 'it does no harm here';

function unserved(path: Path, value: unknown, effect: string): FieldProblem[] {
  if (value === undefined) return [];
  const message = `not served in this version: ${effect}`;
  return [{ path: ['spec', ...path], message, cure: later, of: 'key' }];
}
