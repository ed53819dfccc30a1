// The pods of a simulated Deployment: how many there are, which of them work, and what they cost.
//   P1. A pod works `startS` after it was made, and until it is told to go; then it ends what it has begun.
//   P2. Who goes first: those that do not work yet, then (with deletion costs) the idle, then the newest.

export interface Pod {
  readonly bornS: number;
  readonly readyS: number;
  /** Until when it has work; in the past: it is idle. */
  busyUntilS: number;
}

export class Pods {
  readonly #startS: number;
  readonly #hasDeletionCost: boolean;
  #live: Pod[] = [];
  #going: Pod[] = [];
  /** Seconds of pods, those that start or drain included. */
  podSeconds = 0;
  changes = 0;

  /** `replicas` of them are ready from the beginning. */
  constructor(replicas: number, startS: number, hasDeletionCost: boolean) {
    this.#startS = startS;
    this.#hasDeletionCost = hasDeletionCost;
    this.#live = Array.from({ length: replicas }, () => ({ bornS: 0, readyS: 0, busyUntilS: 0 }));
  }

  get replicas(): number {
    return this.#live.length;
  }

  /** Those that take work now. */
  working(atS: number): Pod[] {
    return this.#live.filter(({ readyS }) => readyS <= atS);
  }

  scale(atS: number, replicas: number): void {
    if (replicas === this.replicas) return;
    this.changes++;
    while (this.#live.length < replicas)
      this.#live.push({ bornS: atS, readyS: atS + this.#startS, busyUntilS: 0 });
    const isIdle = ({ busyUntilS }: Pod) => Number(busyUntilS <= atS);
    const isStarting = ({ readyS }: Pod) => Number(readyS > atS);
    const first = [...this.#live].sort(
      (a, b) =>
        isStarting(b) - isStarting(a) ||
        (this.#hasDeletionCost ? isIdle(b) - isIdle(a) : 0) ||
        b.bornS - a.bornS,
    );
    const gone = new Set(first.slice(0, this.#live.length - replicas));
    this.#live = this.#live.filter((pod) => !gone.has(pod));
    this.#going.push(...gone);
  }

  /** A second has passed. */
  count(atS: number): void {
    this.#going = this.#going.filter(({ busyUntilS }) => busyUntilS > atS);
    this.podSeconds += this.#live.length + this.#going.length;
  }
}
