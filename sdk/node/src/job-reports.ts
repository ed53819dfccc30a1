// What a handler leaves behind: progress, log lines, and what it returned.
import { FlowError } from '@flowmesh/protocol';
import type { Connection } from './connection.ts';
import { type ChildJob, type ChildrenOptions, childrenOf } from './flows.ts';
import type { HeldJob } from './job.ts';
import type { JobResult } from './settlements.ts';
import { BYTES_TYPE, contentTypeOf, textOf } from './values.ts';

const RESULT_BYTES_MAX = 64 * 1024;

/** undefined: there is none, or it cannot be kept; then `refuse` is told, and the job is acked without it. */
export function resultOf(value: unknown, refuse: (error: FlowError) => void): JobResult | undefined {
  if (value === undefined) return undefined;
  try {
    const text = textOf(value);
    const bytes = text === undefined ? (value as Uint8Array) : Buffer.from(text);
    const contentType = text === undefined ? BYTES_TYPE : contentTypeOf(value);
    if (bytes.length <= RESULT_BYTES_MAX) return { value: bytes, contentType };
    const message = `result of ${bytes.length} bytes, at most 64 KiB are kept; the job is done without it`;
    refuse(new FlowError('VALUE_TOO_LARGE', message));
  } catch (cause) {
    refuse(new FlowError('INVALID_ARGUMENT', 'what the handler returned cannot be kept', { cause }));
  }
  return undefined;
}

/** What a handler may ask about the job in its hands, or say of it. */
export interface JobCalls {
  report(job: HeldJob, said: { progress?: string; log?: string[] }): Promise<void>;
  children<T>(job: HeldJob, options?: ChildrenOptions): AsyncGenerator<ChildJob<T>, void, void>;
}

export const jobCalls = (connection: Connection): JobCalls => ({
  async report(job, said) {
    if (job.lease !== 'held') throw job.leaseLost();
    const { queue, id, leaseEpoch } = job;
    const { queues } = connection;
    const request = { queue, id, leaseEpoch, ...said, mutation: connection.mutation() };
    await connection.call(queues, queues.report, request);
  },
  children: (job, options) => childrenOf(connection, job, options),
});
