// How much may be unanswered at one client: calls and bytes.
//   B1. At the limit a single call is refused (RESOURCE_EXHAUSTED): it has nowhere to wait that is bounded.
//   B2. enqueueMany and writeMany wait for room instead: their caller holds the rest anyway.
import { FlowError } from '@flowmesh/protocol';

/** What a refused caller should wait, in ms: about a round trip with fsync under load. */
const RETRY_AFTER_MS = 20;

export class Budget {
  readonly #callsMax: number;
  readonly #bytesMax: number;
  #calls = 0;
  #bytes = 0;
  #waiting: (() => void)[] = [];

  constructor(callsMax: number, bytesMax: number) {
    this.#callsMax = callsMax;
    this.#bytesMax = bytesMax;
  }

  get isFull(): boolean {
    return this.#calls >= this.#callsMax || this.#bytes >= this.#bytesMax;
  }

  take(calls: number, bytes: number): void {
    this.#calls += calls;
    this.#bytes += bytes;
  }

  give(calls: number, bytes: number): void {
    this.#calls -= calls;
    this.#bytes -= bytes;
    if (this.#waiting.length === 0 || this.isFull) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** Resolves when something was given back, whether or not there is room by then. */
  room(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  refusal(): FlowError {
    return new FlowError(
      'RESOURCE_EXHAUSTED',
      `${this.#calls} calls with ${this.#bytes} bytes are unanswered (at most ${this.#callsMax} calls, ` +
        `${this.#bytesMax} bytes); await some of them, or use enqueueMany or writeMany`,
      { retryAfterMs: RETRY_AFTER_MS },
    );
  }
}
