// Between messages of the API and what the queue view knows: jobs, batches, replies. Pure.
import {
  type BatchRecord,
  DEDUP_MODES,
  type DecodedRecord,
  type DedupMode,
  decodeBatch,
  FlowError,
  readHead,
} from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { MutationId } from '../shard/state-machine.ts';
import type { EnqueuedOffset, EnqueueReply, SettleReply } from './commands.ts';
import type { Granted } from './grants.ts';
import { parseJobId } from './ids.ts';
import { PRIORITY_MAX } from './tables.ts';

export function settleResponse(request: pb.SettleRequest, reply: SettleReply): pb.SettleResponseInput {
  const lost = new Set(reply.lost);
  const results = request.settlements.map((s) =>
    lost.has(parseJobId(s.id).offset)
      ? {
          code: 'LEASE_LOST',
          message: `the lease of job ${s.id} with epoch ${s.leaseEpoch} is no longer held`,
          retryAfterMs: 0,
        }
      : { code: '', message: '', retryAfterMs: 0 },
  );
  return { results, durability: 1 };
}

export function enqueuedJobs(reply: EnqueueReply): pb.EnqueuedJobInput[] {
  const { idPrefix, firstOffset, count, offsets, refused = [] } = reply;
  const jobs =
    offsets ??
    Array.from<unknown, EnqueuedOffset>({ length: count }, (_, i) => ({
      offset: firstOffset + i,
      deduplicated: false,
    }));
  const enqueued = jobs.map(
    ({ offset, deduplicated, replaced }): pb.EnqueuedJobInput => ({
      id: idPrefix + offset.toString(36),
      deduplicated,
      ...(replaced === undefined ? {} : { replacedId: idPrefix + replaced.toString(36) }),
    }),
  );
  for (const { index, message } of refused)
    enqueued.splice(index, 0, { error: { code: 'SCHEMA_VIOLATION', message } });
  return enqueued;
}

export function checkName(name: string, kind: string): void {
  if (/^[A-Za-z0-9_.:{}-]{1,255}$/.test(name)) return;
  throw new FlowError(
    'INVALID_ARGUMENT',
    `${kind} name ${JSON.stringify(name.slice(0, 60))}: 1 to 255 of letters, digits and . _ - : { }`,
  );
}

/** `index`: of the request's jobs; they are effects one after another. */
export function toBatchRecord(job: pb.NewJob, cause?: MutationId['cause'], index = 0): BatchRecord {
  if (job.priority > PRIORITY_MAX)
    throw new FlowError('INVALID_ARGUMENT', `priority is 0 to ${PRIORITY_MAX}, not ${job.priority}`);
  const headers = Object.entries(job.headers);
  const e = job.envelope;
  return {
    value: job.payload,
    contentType: job.contentType || undefined,
    key: job.key.length > 0 ? job.key : undefined,
    delayMs: job.delayMs,
    priority: job.priority,
    dedupKey: job.dedupKey,
    dedupMode: dedupModeOf(job),
    dedupWindowMs: job.dedupWindowMs,
    limitKey: job.limitKey.length > 0 ? job.limitKey : undefined,
    timeoutMs: job.timeoutMs,
    headers: headers.length > 0 ? new Map(headers) : undefined,
    cause: cause && { deliveryId: cause.deliveryId, ordinal: cause.ordinal + index },
    envelope: e
      ? {
          traceparent: e.traceparent,
          causationId: e.causationId,
          correlationId: e.correlationId,
          tags: e.tags,
          schema: e.schema,
        }
      : undefined,
  };
}

function dedupModeOf({ dedupMode: mode, dedupKey }: pb.NewJob): DedupMode | undefined {
  if (mode === '') return undefined;
  const known = DEDUP_MODES.find((name) => name === mode);
  if (known === undefined)
    throw new FlowError('INVALID_ARGUMENT', `dedup mode is one of ${DEDUP_MODES.join(', ')}, not ${mode}`);
  if (dedupKey === '') throw new FlowError('INVALID_ARGUMENT', `dedup mode ${mode} without a dedup key`);
  return known;
}

export const envelopeMessage = (r: DecodedRecord): pb.EnvelopeInput | undefined => r.envelope;

export const headersMessage = (r: DecodedRecord): { [name: string]: Uint8Array } =>
  Object.fromEntries(r.headers ?? []);

export function leasedJobs(granted: Granted, idPrefix: string): pb.LeasedJobInput[] {
  const base = readHead(granted.batch).baseOffset;
  return decodeBatch(granted.batch).map((record, i) => ({
    id: idPrefix + (granted.offsets?.[i] ?? base + i).toString(36),
    leaseEpoch: granted.firstEpoch + i,
    attempt: granted.attempts?.[i] ?? 1,
    payload: record.value ?? new Uint8Array(),
    contentType: record.contentType,
    key: record.key,
    headers: headersMessage(record),
    envelope: envelopeMessage(record),
    enqueuedAtMs: record.appendTimeMs,
    deadlineMs: granted.deadlineMs,
  }));
}
