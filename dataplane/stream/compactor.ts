// Cleans the partitions of compacted streams, one at a time, beside the traffic.
//   C1. Work is done in slices: between two of them a batch of commands is decided and journaled (`turn`).
//   C2. Only what is durable is cleaned, or cleaned because of: `limit` is the visible end.
//   C3. A partition whose cleaning failed is left alone for RETRY_MS; the others go on.
import type { CompactionTerms } from '../storage/contract.ts';
import type { PartitionCell, StreamCell } from './cells.ts';

/** What is due grows over minutes; to look more often finds nothing. */
const LOOK_EVERY_MS = 10_000;
const LOOK_PARTITIONS_MAX = 64;
const RETRY_MS = 60_000;

export class Compactor {
  readonly #wake: () => void;
  #dueMs = 0;
  #queue: PartitionCell[] = [];
  #next: (() => void) | null = null;
  #isRunning = false;
  readonly #failedAtMs = new WeakMap<PartitionCell, number>();

  /** `wake`: asks for a turn soon. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get dueMs(): number {
    return this.#isRunning ? Number.POSITIVE_INFINITY : this.#dueMs;
  }

  /** Lets the cleaning that is under way do its next slice. */
  turn(): void {
    const next = this.#next;
    this.#next = null;
    next?.();
  }

  /** Looks at some partitions, and begins to clean the first for which it is due. */
  look(streams: Iterable<StreamCell>, nowMs: number): void {
    if (this.#isRunning || nowMs < this.#dueMs) return;
    if (this.#queue.length === 0) {
      for (const stream of streams) {
        if (stream.cell.value.cleanup !== 'delete') this.#queue.push(...stream.partitions.values());
      }
    }
    for (const partition of this.#queue.splice(-LOOK_PARTITIONS_MAX)) {
      if (!this.#isDue(partition, nowMs)) continue;
      this.#isRunning = true;
      void this.#clean(partition, nowMs);
      return;
    }
    this.#dueMs = this.#queue.length > 0 ? nowMs : nowMs + LOOK_EVERY_MS;
  }

  #isDue(partition: PartitionCell, nowMs: number): boolean {
    if (nowMs < (this.#failedAtMs.get(partition) ?? Number.NEGATIVE_INFINITY) + RETRY_MS) return false;
    return !isOver(partition) && partition.log.isCompactionDue(this.#terms(partition, nowMs));
  }

  async #clean(partition: PartitionCell, nowMs: number): Promise<void> {
    try {
      while (await partition.log.compact(this.#terms(partition, nowMs)));
    } catch {
      // A full disk, or damage that whoever reads there is told of.
      this.#failedAtMs.set(partition, nowMs);
    }
    this.#isRunning = false;
    this.#dueMs = nowMs;
    this.#wake();
  }

  #terms(partition: PartitionCell, nowMs: number): CompactionTerms {
    const { minCompactionLagMs, tombstoneRetentionMs } = partition.stream.cell.value;
    return {
      nowMs,
      limit: partition.visibleEnd,
      untilMs: nowMs - minCompactionLagMs,
      tombstoneRetentionMs,
      isStopped: () => isOver(partition),
      pace: () =>
        new Promise((resolve) => {
          this.#next = resolve;
          this.#wake();
        }),
    };
  }
}

const isOver = ({ stream }: PartitionCell) =>
  stream.cell.value.isDeleted || stream.cell.value.cleanup === 'delete';
