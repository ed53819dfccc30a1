// How many clusters restart pods at once, in all of Kubernetes: an upgrade of the operator, which may change
// every pod template, must not take down everything in the same minute.
//   L1. A cluster that holds a slot may go on restarting its pods; it gives the slot back when none
//       is left and all are ready.
//   L2. A cluster that does not come back within HELD_MS does not keep the others from theirs.
import type { Key } from '../../kube/objects.ts';

const SLOTS_MAX = 2;
const HELD_MS = 10 * 60_000;

export class RolloutSlots {
  readonly #held = new Map<Key, number>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Only who acts at once may ask. */
  claim(key: Key): boolean {
    const nowMs = this.#nowMs();
    for (const [other, sinceMs] of this.#held) if (nowMs - sinceMs >= HELD_MS) this.#held.delete(other);
    if (!this.#held.has(key) && this.#held.size >= SLOTS_MAX) return false;
    this.#held.set(key, nowMs);
    return true;
  }

  release(key: Key): void {
    this.#held.delete(key);
  }
}
