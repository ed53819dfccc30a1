// The bytes of the jobs that come next, which may have to be read first. Owns what is on its way from the
// disk for one queue.
//   B1. A job is only granted when its bytes are in memory: the lease does not run while the disk is read.
import type { ViewContext } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import { type Source, sourceIn } from './sources.ts';
import { Unreadable } from './unreadable.ts';

const LOAD_BYTES = 256 * 1024;
/** Reads from the disk on the way at the same time. */
const LOADS_MAX = 16;

export class LineBytes {
  readonly #cell: QueueCell;
  readonly #context: ViewContext;
  #source: Source | null = null;
  /** What comes next is being read. */
  isLoading = false;
  /** Batches on their way from the disk for jobs by key, by offset. */
  readonly #loads = new Set<number>();
  /** Jobs whose bytes could not be read: their keys lose their turns, the others go on. */
  readonly #unreadable = new Unreadable<number>();

  constructor(cell: QueueCell, context: ViewContext) {
    this.#cell = cell;
    this.#context = context;
  }

  /** The stored batch that holds `offset`; null: it is being read from disk, and `wake` follows. */
  at(offset: number): Source | null {
    const held = this.#held(offset);
    if (held !== null) return held;
    if (this.isLoading) return null;
    const chunk = this.#cell.log.resident(offset, 1);
    if (chunk === undefined) {
      this.load(() => this.#cell.log.load(offset, LOAD_BYTES));
      return null;
    }
    this.#source = sourceIn(chunk.bytes, offset);
    return this.#source;
  }

  #held(offset: number): Source | null {
    const held = this.#source;
    const isIn =
      held !== null && offset >= held.head.baseOffset && offset < held.head.baseOffset + held.head.count;
    return isIn ? held : null;
  }

  /** One at a time: what would be begun beside it could fail without anybody who hears of it. */
  load(work: () => Promise<unknown>): void {
    if (this.isLoading) return;
    this.isLoading = true;
    const done = () => {
      this.isLoading = false;
      this.#context.wake();
    };
    // Damage is reported by whoever reads the job on purpose; the queue stops here rather than skip what it
    // cannot show.
    work().then(done, () => {
      this.isLoading = false;
    });
  }

  begin(nowMs: number): void {
    this.#unreadable.forgive(nowMs);
  }

  /** The stored batch of a job that has its turn; null: it is being read; undefined: that failed. */
  ofKeyed(offset: number): Source | null | undefined {
    const held = this.#held(offset);
    if (held !== null) return held;
    const chunk = this.#cell.log.resident(offset, 1);
    if (chunk !== undefined) {
      this.#source = sourceIn(chunk.bytes, offset);
      return this.#source;
    }
    if (this.#unreadable.has(offset)) return undefined;
    if (this.#loads.has(offset) || this.#loads.size >= LOADS_MAX) return null;
    this.#loads.add(offset);
    this.#cell.log.load(offset, 1).then(
      () => {
        this.#loads.delete(offset);
        this.#context.wake();
      },
      () => {
        this.#loads.delete(offset);
        this.#unreadable.add(offset);
        this.#context.wake();
      },
    );
    return null;
  }
}
