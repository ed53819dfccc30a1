// Whether the process comes close to the memory that it may have. One for all shards; the decision is a pure
// function of two figures.
//   M1. Short above 85 % of the limit; no longer below 80 %, or once less than half of the limit is alive:
//       what the collector has set free serves new data, whether or not the system gets it back.

/** Bytes. */
export interface Memory {
  readonly limitBytes: number;
  /** What the system counts against the limit. */
  resident(): number;
  /** What the heap and its buffers hold, garbage included. Takes ms to find out. */
  live(): number;
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
    const { limitBytes } = this.#memory;
    const resident = this.#memory.resident();
    const isHigh = resident > (this.isShort ? LEAVE : ENTER) * limitBytes;
    this.isShort = isHigh && this.#memory.live() >= LEAVE_LIVE * limitBytes;
  }
}
