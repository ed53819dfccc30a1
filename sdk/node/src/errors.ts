// What failures look like to callers: a FlowError with a stable code, whichever way the server said it.
import { ERRORS, type ErrorCode, FlowError, isErrorCode } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ServiceError, StatusObject } from '@grpc/grpc-js';
import { type Duration, durationMs } from './durations.ts';

/** Thrown by a handler: the job is dead-lettered at once, whatever attempts it has left. */
export class Unrecoverable extends Error {
  override readonly name = 'Unrecoverable';
}

/**
 * Thrown by a handler: the attempt failed, and the next one comes after `delay` instead of the queue's
 * backoff.
 */
export class RetryAfter extends Error {
  override readonly name = 'RetryAfter';
  readonly delayMs: number;

  constructor(delay: Duration, message?: string, options?: { cause?: unknown }) {
    const delayMs = durationMs(delay, 'RetryAfter');
    super(message ?? `retry after ${delayMs} ms`, options);
    this.delayMs = delayMs;
  }
}

/** For answers that carry no `flowmesh-code`: from proxies, or from gRPC itself. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  1: 'CANCELLED',
  3: 'INVALID_ARGUMENT',
  4: 'DEADLINE_EXCEEDED',
  5: 'NOT_FOUND',
  6: 'ALREADY_EXISTS',
  7: 'PERMISSION_DENIED',
  8: 'RESOURCE_EXHAUSTED',
  11: 'OFFSET_OUT_OF_RANGE',
  12: 'UNIMPLEMENTED',
  14: 'UNAVAILABLE',
  15: 'DATA_DAMAGED',
  16: 'UNAUTHENTICATED',
};

export function fromStatus(status: StatusObject | ServiceError): FlowError {
  const named = status.metadata?.get('flowmesh-code')[0];
  const retryAfterMs = Number(status.metadata?.get('flowmesh-retry-after-ms')[0]);
  const code = typeof named === 'string' ? named : codeOf(status);
  const cause = status instanceof Error ? status : undefined;
  return coded(code, status.details, Number.isFinite(retryAfterMs) ? retryAfterMs : undefined, cause);
}

/** Of gRPC itself, which refuses a message that is too large with what else means "again later". */
function codeOf({ code, details }: StatusObject | ServiceError): string {
  if (code === 8 && details.includes('larger than max')) return 'BATCH_TOO_LARGE';
  return CODE_OF_STATUS[code] ?? 'INTERNAL';
}

/** The error inside a batched reply; undefined: there is none. */
export function fromWire(error: pb.Error | null): FlowError | undefined {
  if (error === null || (error.code === '' && error.message === '')) return undefined;
  return coded(error.code || 'INTERNAL', error.message, error.retryAfterMs || undefined);
}

/** A code that this version does not know comes from a newer server: nothing can be decided by it. */
function coded(code: string, message: string, retryAfterMs?: number, cause?: unknown): FlowError {
  if (isErrorCode(code)) return new FlowError(code, message || ERRORS[code].title, { cause, retryAfterMs });
  return new FlowError('INTERNAL', `${code}: ${message}`, { cause });
}

/**
 * Whether opening the same stream again may work. A connection that breaks shows as UNAVAILABLE, INTERNAL or
 * CANCELLED, depending on the moment.
 */
export const isWorthReconnecting = (error: FlowError): boolean =>
  error.retry !== 'never' || error.code === 'INTERNAL' || error.code === 'CANCELLED';

export const cancelled = (signal: AbortSignal): FlowError =>
  new FlowError('CANCELLED', 'the caller aborted; whether it took effect is unknown', {
    cause: signal.reason,
  });

export const clientClosed = (): FlowError => new FlowError('CLIENT_CLOSED', 'the client was closed');

/** How the nack of a failed attempt reads. */
export function nackOf(error: unknown): pb.NackInput {
  const nack: pb.NackInput = { error: describeFailure(error) };
  // By name as well: the application may have another copy of this package.
  if (error instanceof Unrecoverable || nameOf(error) === 'Unrecoverable') nack.unrecoverable = true;
  else if (error instanceof RetryAfter || nameOf(error) === 'RetryAfter') {
    nack.retryAfterMs = (error as RetryAfter).delayMs;
  }
  return nack;
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : '');

/** What a failed attempt reports: message and first lines of the stack, at most 8 KiB. */
function describeFailure(thrown: unknown): string {
  const text = thrown instanceof Error ? withStack(thrown) : `thrown: ${String(thrown)}`;
  return text.length <= FAILURE_CHARS_MAX ? text : text.slice(0, FAILURE_CHARS_MAX);
}

/** A UTF-16 unit takes at most 3 bytes, so this stays within 8 KiB. */
const FAILURE_CHARS_MAX = Math.floor((8 * 1024) / 3);
const STACK_LINES_MAX = 12;

function withStack(error: Error): string {
  const message = `${error.name}: ${error.message}`;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return [message, ...frames.slice(0, STACK_LINES_MAX)].join('\n');
}

export const attemptTimedOut = (timeoutMs: number): FlowError =>
  new FlowError('DEADLINE_EXCEEDED', `timed out: the attempt ran longer than ${timeoutMs} ms`);
