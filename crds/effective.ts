// What is in force, in the words of manifests: for `status.effective`, so that defaults are seen and `spec`
// stays as it was written.
//   E1. Declaring what is in force changes nothing: test/crds declares it again and gets the same.
import type { Queue, QueueStatus, Schema, SchemaStatus, Stream, StreamStatus } from './types.ts';
import { exactSize, formatDuration, formatRate } from './values.ts';

type Effective<Status extends { effective?: unknown }> = NonNullable<Status['effective']>;
interface Rate {
  count?: number | null;
  periodMs?: number | null;
}

/** As QueueSpec and StreamSpec have it; 0: the newest. */
interface ServedRef {
  name?: string | null;
  version?: number | null;
}

interface ServedScaling {
  scaleFrom?: number | null;
  scaleTo?: number | null;
  basedOn?: readonly string[] | null;
}

/** A QueueSpec as the server answers it, every default resolved (proto/flowmesh/v1/admin.proto). */
export interface ServedQueue {
  visibilityTimeoutMs?: number | null;
  timeoutMs?: number | null;
  maxAttempts?: number | null;
  maxDeliveries?: number | null;
  backoff?: {
    type?: string | null;
    initialMs?: number | null;
    maxMs?: number | null;
    jitter?: string | null;
  } | null;
  deadLetterQueue?: string | null;
  deduplicationWindowMs?: number | null;
  maxDepth?: number | null;
  retentionMs?: number | null;
  retentionBytes?: number | null;
  limits?: {
    ratePerKey?: Rate | null;
    concurrencyPerKey?: number | null;
    rate?: Rate | null;
    concurrency?: number | null;
  } | null;
  fair?: boolean | null;
  onFull?: string | null;
  failedHead?: string | null;
  priorityAgingMs?: number | null;
  schemaRef?: ServedRef | null;
  scaling?: ServedScaling | null;
}

/** A StreamSpec as the server answers it. */
export interface ServedStream {
  partitions?: number | null;
  retentionMs?: number | null;
  retentionBytes?: number | null;
  cleanup?: string | null;
  minCompactionLagMs?: number | null;
  tombstoneRetentionMs?: number | null;
  schemaRef?: ServedRef | null;
  consumerGroups?: readonly { name?: string | null; scaling?: ServedScaling | null }[] | null;
}

export function effectiveQueue(queue: Queue, served: ServedQueue): Effective<QueueStatus> {
  const { backoff, limits } = served;
  // No wait is longer than the longest, whatever the default of the first.
  const initialMs = Math.min(backoff?.initialMs ?? 0, backoff?.maxMs ?? Number.POSITIVE_INFINITY);
  return compact({
    ...policiesOf(queue),
    delivery: {
      visibilityTimeout: duration(served.visibilityTimeoutMs),
      timeout: duration(served.timeoutMs),
      maxAttempts: given(served.maxAttempts),
      maxDeliveries: given(served.maxDeliveries),
      failedHead: choice(served.failedHead) ?? 'Block',
      fair: served.fair ?? false,
      priorityAging: duration(served.priorityAgingMs),
      backoff: {
        type: choice(backoff?.type),
        initial: duration(initialMs),
        max: duration(backoff?.maxMs),
        jitter: choice(backoff?.jitter),
      },
    },
    deadLetter: { queueName: served.deadLetterQueue || undefined },
    deduplication: { window: duration(served.deduplicationWindowMs) },
    limits: {
      maxDepth: served.maxDepth ?? 0,
      onFull: choice(served.onFull) ?? 'Reject',
      ratePerKey: rate(limits?.ratePerKey),
      concurrencyPerKey: given(limits?.concurrencyPerKey),
      rate: rate(limits?.rate),
      concurrency: given(limits?.concurrency),
    },
    retention: { finished: duration(served.retentionMs), size: size(served.retentionBytes) },
    schemaRef: schemaRef(served.schemaRef),
    scaling: scaling(queue.spec.scaling, served.scaling),
  });
}

export function effectiveStream(stream: Stream, served: ServedStream): Effective<StreamStatus> {
  const policy = choice(served.cleanup) ?? 'Delete';
  // Of no use, and not accepted, where nothing is cleaned by key.
  const isCompacted = policy !== 'Delete';
  return compact({
    ...policiesOf(stream),
    partitions: given(served.partitions),
    retention: { time: duration(served.retentionMs), size: size(served.retentionBytes) },
    cleanup: {
      policy,
      minCompactionLag: isCompacted ? duration(served.minCompactionLagMs) : undefined,
      tombstoneRetention: isCompacted ? duration(served.tombstoneRetentionMs) : undefined,
    },
    schemaRef: schemaRef(served.schemaRef),
    consumerGroups: stream.spec.consumerGroups?.map((group) => ({
      name: group.name,
      startFrom: group.startFrom ?? 'Earliest',
      scaling: scaling(
        group.scaling,
        served.consumerGroups?.find(({ name }) => name === group.name)?.scaling,
      ),
    })),
  });
}

export function effectiveSchema(schema: Schema): Effective<SchemaStatus> {
  return compact({ ...policiesOf(schema), compatibility: schema.spec.compatibility ?? 'Backward' });
}

function policiesOf({ metadata, spec }: Queue | Stream | Schema) {
  const { name = 'main', namespace = metadata.namespace } = spec.clusterRef ?? {};
  return {
    clusterRef: { name, namespace },
    deletionPolicy: spec.deletionPolicy ?? 'Retain',
    adoptionPolicy: spec.adoptionPolicy ?? 'IfIdentical',
  };
}

/** 0 is "none" on the wire. */
const given = (count: number | null | undefined) => count || undefined;
const duration = (ms: number | null | undefined) => (ms ? formatDuration(ms) : undefined);
const size = (bytes: number | null | undefined) => (bytes ? exactSize(bytes) : undefined);

function rate(value: Rate | null | undefined): string | undefined {
  const { count, periodMs } = value ?? {};
  return count && periodMs ? formatRate({ count, periodMs }) : undefined;
}

const schemaRef = (ref: ServedRef | null | undefined) =>
  ref?.name ? { name: ref.name, version: given(ref.version) } : undefined;

/** What is scaled comes from the manifest, between which numbers and why from what is served. */
const scaling = (asked: Queue['spec']['scaling'], served: ServedScaling | null | undefined) =>
  asked && served
    ? {
        targetRef: { ...asked.targetRef, apiVersion: asked.targetRef.apiVersion ?? 'apps/v1' },
        mode: asked.mode ?? 'Auto',
        scaleFrom: served.scaleFrom ?? 0,
        scaleTo: given(served.scaleTo),
        basedOn: served.basedOn?.length ? [...served.basedOn] : undefined,
      }
    : undefined;

/** `exponential` on the wire is `Exponential` in a manifest. */
const choice = (word: string | null | undefined) =>
  word ? word.charAt(0).toUpperCase() + word.slice(1) : undefined;

/** Without what is not set: an object that another program compares has no undefined fields. */
function compact<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(compact) as T;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  const kept = entries.map(([name, each]) => [name, compact(each)] as const);
  return Object.fromEntries(kept.filter(([, each]) => !isEmpty(each))) as T;
}

const isEmpty = (value: unknown) =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;
