// fm.stream.handle: a consumer with a handler, so that one bad event does not stop its partition for ever.
//   H1. An event is committed when its handler has returned, or when it is in the dead-letter stream; never
//       else.
//   H2. Events of a member are handled one after another: later ones wait while an earlier one is retried.
//   H3. A partition that is to be given up is given up between two attempts; its next owner begins with the
//       event that failed here.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { backoffMs, pause } from './backoff.ts';
import type { Connection } from './connection.ts';
import type { ConsumedEvent, StreamEvent } from './consumed-event.ts';
import type { Consumer, ConsumerOptions } from './consumer.ts';
import { type Duration, durationMs } from './durations.ts';
import { RetryAfter, Unrecoverable } from './errors.ts';

/** Returning commits the event, throwing tries again. `attempt` counts from 1. */
export type EventHandler<T = unknown> = (event: StreamEvent<T>, attempt: number) => unknown;

export interface HandleOptions<T = unknown> extends Omit<ConsumerOptions, 'autoCommit'> {
  /** Attempts at one event before it goes to the dead-letter stream. Default: 5. */
  attempts?: number | undefined;
  /** Wait before the second attempt; doubles up to a minute, with full jitter. Default: 1 s. */
  backoff?: Duration | undefined;
  /**
   * Where events go whose attempts are used up. False: `handle` rejects with the handler's error, and the
   * event is the next one of whoever takes over. Default: `<stream>.dead`.
   */
  deadLetter?: string | false | undefined;
  /** Hears of each failed attempt. */
  onError?: ((error: unknown, event: StreamEvent<T>, attempt: number) => void) | undefined;
}

const ATTEMPTS = 5;
const BACKOFF = '1s';
const BACKOFF_MS_MAX = 60_000;
/** How soon it is noticed between two attempts that the partition is to be given up (H3). */
const LOOK_MS = 200;
const ERROR_BYTES_MAX = 512;
/** Of a dead letter, beside its own. */
const HEADERS_MAX = LIMITS.headers - 4;

/** Runs until the consumer ends; rejects if it fails, or with what the handler threw and nobody takes. */
export async function handleEvents<T>(
  connection: Connection,
  consumer: Consumer<T>,
  handler: EventHandler<T>,
  options: HandleOptions<T>,
): Promise<void> {
  for await (const event of consumer) {
    const consumed = event as ConsumedEvent<T>;
    if (!(await settled(connection, consumed, handler, options))) consumer.abandon(consumed);
  }
}

/** False: the event is not handled here any more. */
async function settled<T>(
  connection: Connection,
  event: ConsumedEvent<T>,
  handler: EventHandler<T>,
  options: HandleOptions<T>,
): Promise<boolean> {
  const attempts = options.attempts ?? ATTEMPTS;
  const firstMs = durationMs(options.backoff ?? BACKOFF, 'backoff');
  for (let attempt = 1; ; attempt++) {
    try {
      await event.run(() => handler(event, attempt));
      return true;
    } catch (error) {
      options.onError?.(error, event, attempt);
      if (attempt >= attempts || error instanceof Unrecoverable) {
        if (options.deadLetter === false) throw error;
        return bury(connection, event, { options, error, attempt });
      }
      const longest = Math.min(BACKOFF_MS_MAX, firstMs * 2 ** Math.min(attempt - 1, 10));
      const waitMs = error instanceof RetryAfter ? error.delayMs : Math.random() * longest;
      if (!(await waited(event, waitMs, options.signal))) return false;
    }
  }
}

interface Death<T> {
  readonly options: HandleOptions<T>;
  readonly error: unknown;
  readonly attempt: number;
}

/** An event is skipped only when it is safe elsewhere: until then this is tried again. */
async function bury<T>(connection: Connection, event: ConsumedEvent<T>, death: Death<T>): Promise<boolean> {
  const { deadLetter, signal } = death.options;
  const stream = deadLetter || `${event.stream}.dead`;
  const { streams, admin } = connection;
  const records = [deadRecord(event, death)];
  for (let again = 0; ; again++) {
    try {
      await connection.call(streams, streams.publish, { stream, records, mutation: connection.mutation() });
      return true;
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      if (error.code === 'STREAM_NOT_FOUND' && again === 0) {
        await connection.call(admin, admin.applyStream, { name: stream, mutation: connection.mutation() });
      } else if (error.retry === 'never') throw error;
      else if (!(await waited(event, backoffMs(again), signal))) return false;
    }
  }
}

/** The record as it was, byte for byte, and why it is here. */
function deadRecord<T>(event: ConsumedEvent<T>, { error, attempt }: Death<T>): pb.NewRecordInput {
  const { value, key, contentType, headers, timeMs, envelope } = event.decoded;
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const own = {
    'flowmesh-source': event.id,
    'flowmesh-group': event.consumer.group,
    'flowmesh-attempts': String(attempt),
    'flowmesh-error': reason,
  };
  const notes = Object.entries(own).map(([name, text]) => [name, clipped(text)] as const);
  return {
    key,
    value,
    tombstone: value === null,
    contentType: value === null ? undefined : contentType,
    headers: Object.fromEntries([...[...(headers ?? [])].slice(0, HEADERS_MAX), ...notes]),
    timeMs,
    envelope: { ...envelope, causationId: event.id },
  };
}

const clipped = (text: string) => Buffer.from(text).subarray(0, ERROR_BYTES_MAX);

/** False: the partition is to be given up, or the consumer ends. */
async function waited<T>(
  event: ConsumedEvent<T>,
  ms: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  for (let leftMs = ms; ; leftMs -= LOOK_MS) {
    if (event.owned.isGone || event.owned.isRevoking || event.consumer.isEnding) return false;
    if (leftMs <= 0) return true;
    await pause(Math.min(leftMs, LOOK_MS), signal);
  }
}
