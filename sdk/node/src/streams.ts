// fm.stream: writing, consuming in groups, reading.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { backoffMs, pause } from './backoff.ts';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { Consumer, type ConsumerOptions } from './consumer.ts';
import { fromStatus, isWorthReconnecting } from './errors.ts';
import { type EventHandler, type HandleOptions, handleEvents } from './handle-events.ts';
import { Publisher, type WriteManyOptions, type WriteOptions, type WrittenRecord } from './publish.ts';
import { placesOf, recordOf, StoredRecord, type StreamRecord } from './stream-record.ts';

export interface ReadOptions extends CallOptions {
  /** Default: 0. */
  partition?: number | undefined;
  /** The first record to read. Default: the start of the log. */
  offset?: number | undefined;
  /** Instead of `offset`: the first record appended at or after this time, ms since the epoch. */
  timestamp?: number | undefined;
  /** At most this many records. Default: what the server thinks fit. */
  max?: number | undefined;
}

export interface ReadPage<T = unknown> {
  records: StreamRecord<T>[];
  /** Where the next page begins. */
  nextOffset: number;
  /** The end of the partition when this was read. */
  endOffset: number;
}

export interface FollowOptions {
  /** Default: 0. */
  partition?: number | undefined;
  /** The first record to read. Default: the start of the log. */
  offset?: number | undefined;
  /** Aborting ends the loop as if there were no more records. */
  signal?: AbortSignal | undefined;
}

/** Event streams. */
export class Streams {
  /** @internal */
  readonly publisher: Publisher;
  /** @internal */
  readonly consumers = new Set<Pick<Consumer, 'close' | 'drain'>>();
  readonly #connection: Connection;
  readonly #onWork: () => void;

  /** @internal */
  constructor(connection: Connection, onWork: () => void) {
    this.#connection = connection;
    this.#onWork = onWork;
    this.publisher = new Publisher(connection);
  }

  /**
   * Writes one event; resolves when it is durable. `null` writes a tombstone. Calls of the same tick travel
   * together.
   * @throws FlowError STREAM_NOT_FOUND, VALUE_TOO_LARGE, KEY_TOO_LARGE, HEADERS_TOO_LARGE, RESOURCE_EXHAUSTED
   *   (too many calls unanswered), DISK_FULL, DEADLINE_EXCEEDED (outcome unknown)
   */
  write(stream: string, event: unknown, options?: WriteOptions): Promise<WrittenRecord> {
    return this.publisher.write(stream, event, options);
  }

  /**
   * Writes many events in order; waits for room instead of refusing. If it rejects, some may have been
   * written. `deadline` is for all of them together.
   */
  writeMany<E>(
    stream: string,
    events: readonly E[],
    options?: WriteManyOptions<E>,
  ): Promise<WrittenRecord[]> {
    return this.publisher.writeMany(stream, events, options);
  }

  /**
   * Joins a consumer group and iterates over its events: `for await (const ev of fm.stream.consumer(...))`.
   * Members of a group share the partitions. An event is committed when the next one is asked for.
   */
  consumer<T = unknown>(stream: string, group: string, options: ConsumerOptions = {}): Consumer<T> {
    const consumer = new Consumer<T>(this.#connection, { stream, group }, options, (left) => {
      this.consumers.delete(left);
    });
    this.consumers.add(consumer);
    this.#onWork();
    return consumer;
  }

  /**
   * Joins a consumer group and calls `handler` for each event, one after another. What throws is tried again
   * with backoff, and after `attempts` it goes to the dead-letter stream, so that it does not stop its
   * partition. `RetryAfter` chooses the wait, `Unrecoverable` buries at once. Resolves when `signal` aborts
   * or the client closes.
   */
  async handle<T = unknown>(
    stream: string,
    group: string,
    handler: EventHandler<T>,
    options: HandleOptions<T> = {},
  ): Promise<void> {
    const consumer = this.consumer<T>(stream, group, options);
    await handleEvents(this.#connection, consumer, handler, options);
  }

  /**
   * Reads one page of one partition, without a group.
   * @throws FlowError STREAM_NOT_FOUND, OFFSET_OUT_OF_RANGE
   */
  async read<T = unknown>(stream: string, options: ReadOptions = {}): Promise<ReadPage<T>> {
    const { streams } = this.#connection;
    const request: pb.ReadRequestInput = { stream, partition: options.partition, max: options.max };
    if (options.timestamp !== undefined) request.timestampMs = options.timestamp;
    else if (options.offset !== undefined) request.offset = options.offset;
    const page = await this.#connection.call(streams, streams.read, request, options);
    return { records: page.records.map(recordOf<T>), nextOffset: page.nextOffset, endOffset: page.endOffset };
  }

  async #logStart(stream: string, partition: number | undefined): Promise<number> {
    const { records, nextOffset } = await this.read(stream, { partition, max: 1 });
    return records[0]?.offset ?? nextOffset;
  }

  /** Reads one partition on and on, without a group. Reconnects by itself. */
  async *follow<T = unknown>(
    stream: string,
    options: FollowOptions = {},
  ): AsyncGenerator<StreamRecord<T>, void, void> {
    const { partition, signal } = options;
    let offset = options.offset ?? (await this.#logStart(stream, partition));
    for (let attempt = 0; !signal?.aborted && !this.#connection.isClosed; attempt++) {
      const request = { stream, partition, offset };
      const { lanes } = this.#connection;
      const chunks = lanes.hold(({ streams }) => streams.follow(request, this.#connection.metadata()));
      const cancel = () => chunks.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      try {
        for await (const chunk of chunks as AsyncIterable<pb.RecordChunk>) {
          attempt = 0;
          for (const place of placesOf(chunk, offset)) {
            offset = place.offset + 1;
            yield new StoredRecord<T>(place);
            if (signal?.aborted) return;
          }
          offset = Math.max(offset, chunk.nextOffset);
        }
      } catch (error) {
        if (signal?.aborted) return;
        const failure = fromStatus(error as Parameters<typeof fromStatus>[0]);
        if (!isWorthReconnecting(failure)) throw failure;
      } finally {
        signal?.removeEventListener('abort', cancel);
        cancel();
      }
      await pause(backoffMs(attempt), signal);
    }
  }
}
