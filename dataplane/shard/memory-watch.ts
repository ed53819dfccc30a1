// Whether the process comes close to the memory that it may have. One for all shards; the decision is a pure
// function of two figures.
//   M1. Short above 85 % of the limit; no longer below 80 %, or once less than half of the limit is alive:
//       what the collector has set free serves new data, whether or not the system gets it back.

/** Bytes. */
export interface MemoryFigures {
  /** What the system counts against the limit. */
  readonly resident: number;
  /** What the heap and its buffers hold, garbage included. */
  readonly live: number;
}

export interface Memory {
  readonly limitBytes: number;
  read(): MemoryFigures;
}

export const LOOK_MS = 250;
const ENTER = 0.85;
const LEAVE = 0.8;
const LEAVE_LIVE = 0.5;

export class MemoryWatch {
  readonly #memory: Memory;
  isShort = false;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  look(): void {
    const { resident, live } = this.#memory.read();
    const { limitBytes } = this.#memory;
    const hasEnough = resident < LEAVE * limitBytes || live < LEAVE_LIVE * limitBytes;
    this.isShort = this.isShort ? !hasEnough : resident > ENTER * limitBytes && !hasEnough;
  }
}
