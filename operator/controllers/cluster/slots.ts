// How many clusters restart pods at once, in all of Kubernetes: an upgrade of the operator, which may change
// every pod template, must not take down everything in the same minute.
//   L1. A cluster that holds a slot may go on restarting its pods; it gives the slot back when none
//       is left and all are ready.
//   L2. A cluster that does not come back within HELD_MS does not keep the others from theirs.
//   L3. Whoever is in the middle of a rollout holds a slot, whoever began it: that is read off the objects of
//       the clusters, so a new leader, which remembers nothing, starts no third one. Only since when is
//       remembered.
import type { Key } from '../../kube/objects.ts';

const SLOTS_MAX = 2;
const HELD_MS = 10 * 60_000;

export interface RolloutSlotsParts {
  readonly monotonicMs: () => number;
  /** Clusters that are in the middle of a rollout, as their objects say. */
  readonly rollingOut: () => Iterable<Key>;
}

export class RolloutSlots {
  readonly #p: RolloutSlotsParts;
  /** Since when. What we have just begun is not in the objects yet. */
  readonly #held = new Map<Key, number>();

  constructor(parts: RolloutSlotsParts) {
    this.#p = parts;
  }

  /** Only who acts at once may ask. */
  claim(key: Key): boolean {
    const nowMs = this.#p.monotonicMs();
    const isCounted = (sinceMs: number) => nowMs - sinceMs < HELD_MS;
    const rolling = new Set(this.#p.rollingOut());
    // L2: one that hangs stays known, or it would count as a new one.
    for (const [each, sinceMs] of this.#held)
      if (!isCounted(sinceMs) && !rolling.has(each)) this.#held.delete(each);
    for (const each of rolling) if (!this.#held.has(each)) this.#held.set(each, nowMs);
    const counted = [...this.#held].filter(([, sinceMs]) => isCounted(sinceMs)).map(([each]) => each);
    if (!counted.includes(key) && counted.length >= SLOTS_MAX) return false;
    this.#held.set(key, nowMs);
    return true;
  }

  release(key: Key): void {
    this.#held.delete(key);
  }
}
