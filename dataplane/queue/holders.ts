// Who works on a queue: one entry for each worker that is connected or holds leases, and for how long workers
// have been busy. In memory only: leases are what is stored.
//   H1. Taking and giving back leases costs a few additions; an entry is made for a worker, not for a job.
//   H2. A worker is a name: a process with two sessions on a queue is one, and so is one that came back with
//       a new session while the old one still holds jobs.

export interface Holder {
  readonly worker: string;
  leased: number;
  /** Connections that take jobs. */
  waiting: number;
}

export class Holders {
  /** Shard time of what happens now. */
  nowMs = 0;
  readonly #all = new Map<string, Holder>();
  #busy = 0;
  #busyMs = 0;
  #sinceMs = 0;

  /** Workers that are connected or hold jobs. */
  get size(): number {
    return this.#all.size;
  }

  /** Those that hold jobs. */
  get busy(): number {
    return this.#busy;
  }

  get all(): Iterable<Holder> {
    return this.#all.values();
  }

  /** Sum over all workers of how long they have been busy; only differences mean something. */
  busyMs(nowMs: number): number {
    this.nowMs = Math.max(this.nowMs, nowMs);
    this.#count();
    return this.#busyMs;
  }

  of(worker: string): Holder {
    const known = this.#all.get(worker);
    if (known !== undefined) return known;
    const holder = { worker, leased: 0, waiting: 0 };
    this.#all.set(worker, holder);
    return holder;
  }

  take(holder: Holder, count: number): void {
    if (holder.leased === 0) this.#turn(holder, 1);
    holder.leased += count;
  }

  give(holder: Holder, count: number): void {
    holder.leased -= count;
    if (holder.leased === 0) this.#turn(holder, -1);
  }

  came(worker: string): void {
    this.of(worker).waiting++;
  }

  left(worker: string): void {
    const holder = this.of(worker);
    holder.waiting--;
    this.#drop(holder);
  }

  #turn(holder: Holder, change: 1 | -1): void {
    this.#count();
    this.#busy += change;
    // An ack that was taken back brings its worker back.
    if (change === 1) this.#all.set(holder.worker, holder);
    else this.#drop(holder);
  }

  #drop({ worker, leased, waiting }: Holder): void {
    if (leased === 0 && waiting <= 0) this.#all.delete(worker);
  }

  #count(): void {
    if (this.#busy > 0) this.#busyMs += this.#busy * Math.max(0, this.nowMs - this.#sinceMs);
    this.#sinceMs = this.nowMs;
  }
}
