// Time and order of a simulated run. Owns the one queue of everything that will happen.
//   W1. One thing happens at a time: all microtasks that it leads to are done before the next one.
//   W2. What is due at the same moment happens in an order drawn from the seed.
//   W3. Everything that happened goes into `digest`: two runs of a seed have the same.
//   W4. A second takes at most STEPS_MAX steps: what does more works for nothing and would come to no end.
import { createHash } from 'node:crypto';
import type { Chance } from './chance.ts';

interface Due {
  readonly atMs: number;
  readonly lot: number;
  readonly no: number;
  readonly run: () => void;
  isCancelled: boolean;
}

const EPOCH_MS = 1_800_000_000_000;
const STEPS_MAX = 200_000;
/** Of what happened last, for the report. */
const TRACE_MAX = 120;

export class World {
  readonly chance: Chance;
  /** Monotonic, ms. */
  nowMs = 0;
  /** How far the wall clock is off. */
  wallOffsetMs = 0;
  steps = 0;
  readonly trace: string[] = [];
  readonly #heap: Due[] = [];
  readonly #hash = createHash('sha256');
  #no = 0;

  constructor(chance: Chance) {
    this.chance = chance;
  }

  wallMs(): number {
    return EPOCH_MS + Math.floor(this.nowMs) + this.wallOffsetMs;
  }

  after(ms: number, run: () => void): () => void {
    const due = { atMs: this.nowMs + ms, lot: this.chance.next(), no: this.#no++, run, isCancelled: false };
    this.#push(due);
    return () => {
      due.isCancelled = true;
    };
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  note(what: string): void {
    const line = `${this.nowMs.toFixed(3)} ${what}`;
    this.#hash.update(line);
    this.trace.push(line);
    if (this.trace.length > TRACE_MAX * 2) this.trace.splice(0, TRACE_MAX);
  }

  lastEvents(): string[] {
    return this.trace.slice(-TRACE_MAX);
  }

  digest(): string {
    return this.#hash.copy().digest('hex').slice(0, 16);
  }

  /** Runs until `isOver` or, at the latest, `endMs`; `onStuck`: things happen, no time passes (W4). */
  async run(endMs: number, isOver: () => boolean, onStuck = (_steps: number) => {}): Promise<void> {
    await turn();
    let fromMs = this.nowMs;
    let fromSteps = this.steps;
    while (!isOver()) {
      const due = this.#pop();
      if (due === undefined) return;
      if (due.isCancelled) continue;
      if (due.atMs > endMs) {
        this.#push(due);
        this.nowMs = endMs;
        return;
      }
      this.nowMs = Math.max(this.nowMs, due.atMs);
      this.steps++;
      if (this.nowMs >= fromMs + 1000) {
        fromMs = this.nowMs;
        fromSteps = this.steps;
      } else if (this.steps - fromSteps > STEPS_MAX) return onStuck(this.steps - fromSteps);
      due.run();
      await turn(); // W1
    }
  }

  #push(due: Due): void {
    const heap = this.#heap;
    let i = heap.push(due) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up] as Due;
      if (isBefore(parent, due)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = due;
  }

  #pop(): Due | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && isBefore(heap[down + 1] as Due, heap[down] as Due)) down++;
      if (isBefore(last, heap[down] as Due)) break;
      heap[i] = heap[down] as Due;
      i = down;
    }
    heap[i] = last;
    return top;
  }
}

const isBefore = (a: Due, b: Due): boolean =>
  a.atMs !== b.atMs ? a.atMs < b.atMs : a.lot !== b.lot ? a.lot < b.lot : a.no < b.no;

/** No real IO is pending in a simulation, so one turn of the event loop does all microtasks. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
