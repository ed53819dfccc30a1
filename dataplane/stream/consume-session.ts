// One connected member of a consumer group: sends its assignment and the records of its partitions, within
// its credit.
//   C1. Records of a partition are sent only between the message that assigns it and the one that revokes it.
//   C2. Chunks wait for credit and for the connection; assignments and commit replies do not.
//   C3. A partition that stays assigned under the same epoch is not touched when others change (G3).
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ConsumeSession } from '../services.ts';
import type { PartitionCell } from './cells.ts';
import { Feed } from './feed.ts';
import { chunkMessage } from './follow-session.ts';

/** More credit than this is no use: it only holds memory of a member that does not read. */
const CREDIT_BYTES_MAX = 256 * 1024 * 1024;

export interface Assigned {
  readonly partition: PartitionCell;
  readonly epoch: number;
  readonly offset: number;
}

export interface MemberAssignment {
  readonly memberEpoch: number;
  readonly owned: readonly Assigned[];
  readonly revoking: readonly number[];
}

/** What a session asks of its group. */
export interface MemberPort {
  heard(): void;
  commit(commit: pb.ConsumeCommit, done: (results: pb.ErrorInput[]) => void): void;
  release(partitions: readonly number[]): void;
  leave(): void;
  disconnected(): void;
  nowMs(): number;
  /** Something that was sent has been committed, this long after. */
  handled(ms: number): void;
}

interface Running extends Assigned {
  readonly feed: Feed;
  /** One record that is on the way, and since when; -1: none is watched. */
  watched: number;
  watchedSinceMs: number;
}

export class Consumer implements ConsumeSession {
  readonly member: string;
  readonly #port: MemberPort;
  readonly #send: (message: pb.ConsumeResponseInput) => boolean;
  readonly #fail: (error: FlowError) => void;
  readonly #running = new Map<number, Running>();
  #revoking: readonly number[] = [];
  #creditBytes: number;
  #isCongested = false;
  #isClosed = false;
  #isAssigned = false;
  readonly #wake = () => this.#pump();
  /** Partition that is asked first next time, so that none starves. */
  #turn = 0;

  constructor(
    hello: pb.ConsumeHello,
    port: MemberPort,
    send: (message: pb.ConsumeResponseInput) => boolean,
    fail: (error: FlowError) => void,
  ) {
    this.member = hello.memberId;
    this.#creditBytes = Math.min(hello.creditBytes, CREDIT_BYTES_MAX);
    this.#port = port;
    this.#send = send;
    this.#fail = fail;
  }

  receive(message: pb.ConsumeRequest): void {
    if (this.#isClosed) return;
    this.#port.heard();
    if (message.message === 'creditBytes') {
      this.#creditBytes = Math.min(this.#creditBytes + message.creditBytes, CREDIT_BYTES_MAX);
      this.#pump();
    } else if (message.message === 'commit') {
      const { seq, offsets } = message.commit;
      for (const { partition, offset } of offsets) this.#noteHandled(partition, offset);
      this.#port.commit(message.commit, (results) => this.tell({ committed: { seq, results } }));
    } else if (message.message === 'revoked') this.#port.release(message.revoked.partitions);
    else if (message.message === 'leave') {
      this.#stopAll();
      this.#port.leave();
    }
  }

  resume(): void {
    this.#isCongested = false;
    this.#pump();
  }

  disconnect(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopAll();
    this.#port.disconnected();
  }

  /** The server ends it. */
  end(error: FlowError): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopAll();
    this.#port.disconnected();
    this.#fail(error);
  }

  tell(message: pb.ConsumeResponseInput): void {
    if (!this.#isClosed && !this.#send(message)) this.#isCongested = true;
  }

  assign(next: MemberAssignment): void {
    if (this.#isClosed) return;
    if (this.#isAssigned && this.#isSame(next)) return;
    this.#isAssigned = true;
    this.#revoking = next.revoking;
    const kept = new Set(next.owned.map(({ partition }) => partition.partition));
    for (const partition of this.#running.keys()) if (!kept.has(partition)) this.#stop(partition);
    // Feeds are swapped before the message leaves and pumped after it (C1).
    for (const assigned of next.owned) this.#start(assigned);
    const partitions = [...this.#running.values()].map(({ partition, epoch, offset }) => {
      return { partition: partition.partition, epoch, offset };
    });
    this.tell({ assignment: { memberEpoch: next.memberEpoch, partitions, revoking: [...next.revoking] } });
    this.#pump();
  }

  #isSame(next: MemberAssignment): boolean {
    return (
      next.owned.length === this.#running.size &&
      next.owned.every((each) => this.#running.get(each.partition.partition)?.epoch === each.epoch) &&
      next.revoking.length === this.#revoking.length &&
      next.revoking.every((partition) => this.#revoking.includes(partition))
    );
  }

  #start(assigned: Assigned): void {
    const { partition, offset, epoch } = assigned;
    if (this.#running.get(partition.partition)?.epoch === epoch) return; // C3
    this.#stop(partition.partition);
    const feed = new Feed(partition, offset, this.#wake, (error) => this.end(error));
    this.#running.set(partition.partition, { ...assigned, feed, watched: -1, watchedSinceMs: 0 });
  }

  /** Its partitions of which something is on the way. */
  onTheWay(group: string): number {
    let count = 0;
    for (const { partition, feed } of this.#running.values()) {
      const committed = partition.cursors.get(group)?.value.offset ?? -1;
      if (feed.next > Math.max(committed, partition.log.startOffset)) count++;
    }
    return count;
  }

  #noteHandled(partition: number, offset: number): void {
    const running = this.#running.get(partition);
    if (running === undefined || running.watched === -1 || offset <= running.watched) return;
    running.watched = -1;
    this.#port.handled(this.#port.nowMs() - running.watchedSinceMs);
  }

  #stop(partition: number): void {
    this.#running.get(partition)?.feed.close();
    this.#running.delete(partition);
  }

  #stopAll(): void {
    for (const partition of [...this.#running.keys()]) this.#stop(partition);
  }

  /** One chunk of each partition in turn, as long as there is credit and the connection takes it (C2). */
  #pump(): void {
    const running = [...this.#running.values()];
    let idle = 0;
    while (idle < running.length && this.#creditBytes > 0 && !this.#isCongested && !this.#isClosed) {
      const each = running[this.#turn++ % running.length];
      const chunk = each?.feed.take() ?? null;
      if (each === undefined || chunk === null) {
        idle++;
        continue;
      }
      idle = 0;
      this.#creditBytes -= chunk.bytes.length;
      this.tell({ chunk: chunkMessage(each.partition, chunk) });
      if (each.watched !== -1) continue;
      each.watched = chunk.firstOffset;
      each.watchedSinceMs = this.#port.nowMs();
    }
    this.#turn %= Math.max(1, running.length);
  }
}
