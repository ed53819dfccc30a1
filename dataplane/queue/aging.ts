// Priorities that grow with age: each `agingMs` that a job has been ready counts as one priority more. Owns
// the fronts of the priority levels of one queue.
//   A1. Two jobs never change places: what leads by `priority * agingMs - readyAtMs` leads for ever. So the
//       best job is among the first of each level and the one at the cursor.
//   A2. Within a level jobs go in the order of their offsets, as without aging.
//   A3. A level that is not in memory is waited for: nothing overtakes what it may hold.
import type { ViewContext } from '../shard/state-machine.ts';
import type { Window } from '../storage/contract.ts';
import { after, readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import { type JobMeta, PRIORITY_MAX, READY } from './tables.ts';

/** Rows of one refill of a level. */
const LEVEL_ROWS = 64;

export const scoreOf = (agingMs: number, priority: number, readyAtMs: number): number =>
  priority * agingMs - readyAtMs;

interface Level {
  readonly priority: number;
  readonly jobs: Window<JobMeta>;
  /** Its rows are on their way. */
  isLoading: boolean;
  /** Picked, and still in the window. */
  taken: number;
}

export interface AgedJob {
  readonly level: Level;
  readonly offset: number;
  readonly meta: JobMeta;
  readonly score: number;
}

export class AgedLevels {
  readonly #context: ViewContext;
  readonly #cell: QueueCell;
  readonly #generation: number;
  readonly #levels = new Map<number, Level>();
  #isClosed = false;
  /** Whether the levels are known that had jobs before. */
  #search: 'due' | 'running' | 'done' = 'due';

  constructor(context: ViewContext, cell: QueueCell) {
    this.#context = context;
    this.#cell = cell;
    this.#generation = cell.state.generation;
  }

  /** The queue was purged. */
  get isOutdated(): boolean {
    return this.#generation !== this.#cell.state.generation;
  }

  close(): void {
    this.#isClosed = true;
    for (const { jobs } of this.#levels.values()) jobs.close();
    this.#levels.clear();
  }

  /** What was taken before has left the windows. */
  begin(): void {
    for (const level of this.#levels.values()) level.taken = 0;
  }

  /** The ready job that leads; null: there is none. Equal ones: the higher priority. */
  best(agingMs: number): AgedJob | 'wait' | null {
    if (this.#search !== 'done') {
      if (this.#search === 'due') this.#find();
      return 'wait';
    }
    for (const priority of this.#cell.readyLevels) if (!this.#levels.has(priority)) this.#open(priority);
    let best: AgedJob | undefined;
    for (const level of this.#levels.values()) {
      const row = level.isLoading ? undefined : level.jobs.at(level.taken);
      if (row === undefined) {
        if (!level.isLoading && level.jobs.isWhole()) continue;
        if (!level.isLoading && level.taken === 0) this.#load(level);
        return 'wait';
      }
      const { priority } = level;
      const score = scoreOf(agingMs, priority, row.value.readyAtMs);
      const isBehind = best !== undefined && (score - best.score || priority - best.level.priority) < 0;
      if (isBehind) continue;
      best = { level, offset: readU53be(row.key, row.key.length - 7), meta: row.value, score };
    }
    return best ?? null;
  }

  take({ level }: AgedJob): void {
    level.taken++;
  }

  #open(priority: number): void {
    const from = this.#cell.keys.readyLevel(priority);
    const jobs = this.#context.rows.window(READY, from, after(from), LEVEL_ROWS);
    this.#levels.set(priority, { priority, jobs, isLoading: false, taken: 0 });
  }

  #load(level: Level): void {
    level.isLoading = true;
    level.jobs.refill().then(
      () => {
        level.isLoading = false;
        this.#context.wake();
      },
      () => {
        // The next who asks for jobs tries again.
        level.isLoading = false;
      },
    );
  }

  /** Levels that had jobs before this process knew of them: from the first of one straight to the next. */
  #find(): void {
    this.#search = 'running';
    this.#findAll().then(
      () => {
        this.#search = 'done';
        this.#context.wake();
      },
      () => {
        this.#search = 'due';
      },
    );
  }

  async #findAll(): Promise<void> {
    const { keys, readyLevels } = this.#cell;
    const to = after(keys.ready);
    for (let from = keys.ready; !this.#isClosed; ) {
      const [row] = await this.#context.rows.scan(READY, { from, to, limit: 1 });
      if (row === undefined) return;
      const priority = PRIORITY_MAX - row.key.charCodeAt(keys.ready.length);
      readyLevels.add(priority);
      from = after(keys.readyLevel(priority));
    }
  }
}
