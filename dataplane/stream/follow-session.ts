// One client that reads one partition on and on. Sends what is durable as soon as it is, until `send` says
// stop.
import { FlowError } from '@flowmesh/protocol';
import type { RecordChunkInput } from '@flowmesh/protocol/gen/flowmesh.js';
import type { FollowSession } from '../services.ts';
import type { PartitionCell, StreamCell } from './cells.ts';
import { Feed } from './feed.ts';

export class Follow implements FollowSession {
  readonly #feed: Feed;
  readonly #send: (chunk: RecordChunkInput) => boolean;
  readonly #fail: (error: FlowError) => void;
  #isCongested = false;
  #isClosed = false;

  constructor(
    partition: PartitionCell,
    offset: number,
    send: (chunk: RecordChunkInput) => boolean,
    fail: (error: FlowError) => void,
  ) {
    this.#send = send;
    this.#fail = fail;
    this.#feed = new Feed(
      partition,
      offset,
      () => this.#pump(),
      (error) => this.end(error),
    );
    this.#pump();
  }

  get stream(): StreamCell {
    return this.#feed.partition.stream;
  }

  resume(): void {
    this.#isCongested = false;
    this.#pump();
  }

  close(): void {
    this.#isClosed = true;
    this.#feed.close();
  }

  /** The server ends it: the stream is gone, or its data is damaged. */
  end(error: FlowError): void {
    if (this.#isClosed) return;
    this.close();
    this.#fail(error);
  }

  #pump(): void {
    const { partition } = this.#feed;
    while (!this.#isCongested && !this.#isClosed) {
      const { next } = this.#feed;
      if (next < partition.log.startOffset) {
        const at = `offset ${next} of partition ${partition.partition} was trimmed while it was followed`;
        this.end(
          new FlowError('OFFSET_OUT_OF_RANGE', `${at}; the log starts at ${partition.log.startOffset}`),
        );
        return;
      }
      const chunk = this.#feed.take();
      if (chunk === null) return;
      this.#isCongested = !this.#send(chunkMessage(partition, chunk));
    }
  }
}

export const chunkMessage = (
  partition: PartitionCell,
  chunk: { bytes: Buffer; firstOffset: number; nextOffset: number },
): RecordChunkInput => ({
  partition: partition.partition,
  batches: chunk.bytes,
  firstOffset: chunk.firstOffset,
  nextOffset: chunk.nextOffset,
  endOffset: partition.visibleEnd,
});
