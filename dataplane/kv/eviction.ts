// Which key of a cache goes when it is full: the worst of a few that are drawn at random, as Redis does it.
// Owns how recently and how often keys were used.
//   X1. Costs a few numbers per key and no order among them: using a key is O(1).
//   X2. Of equals the one used longest ago goes, and what was written last stays: a cache that dropped each
//       new key at once would never learn what is used.
export type Policy = 'lru' | 'lfu' | 'ttl';

const SAMPLES = 8;
/** A use counts the less, the more there were: 255 stand for about a million. */
const USES_MAX = 255;
const LOG_FACTOR = 10;
const FRESH_USES = 5;
/** Uses are forgotten one by one. */
const FORGET_MS = 60_000;

export interface EvictionParts {
  readonly random: () => number;
  readonly nowMs: () => number;
  /** 0: never. */
  readonly expiryOf: (key: string) => number;
}

export class Eviction {
  policy: Policy;
  readonly #p: EvictionParts;
  readonly #places = new Map<string, number>();
  readonly #keys: string[] = [];
  /** By place: the turn of the last use; and how often, with the time to which that is counted. */
  readonly #turns: number[] = [];
  readonly #uses: number[] = [];
  readonly #countedMs: number[] = [];
  #turn = 0;

  constructor(policy: Policy, parts: EvictionParts) {
    this.policy = policy;
    this.#p = parts;
  }

  get size(): number {
    return this.#keys.length;
  }

  add(key: string): void {
    if (this.#places.has(key)) return;
    this.#places.set(key, this.#keys.length);
    this.#keys.push(key);
    this.#turns.push(++this.#turn);
    this.#uses.push(FRESH_USES);
    this.#countedMs.push(this.#p.nowMs());
  }

  remove(key: string): void {
    const place = this.#places.get(key);
    if (place === undefined) return;
    this.#places.delete(key);
    const last = this.#keys.length - 1;
    for (const list of [this.#turns, this.#uses, this.#countedMs]) {
      list[place] = list[last] as number;
      list.pop();
    }
    const moved = this.#keys.pop() as string;
    if (place === last) return;
    this.#keys[place] = moved;
    this.#places.set(moved, place);
  }

  use(key: string): void {
    const place = this.#places.get(key);
    if (place === undefined) return;
    this.#turns[place] = ++this.#turn;
    const uses = this.#usesOf(place);
    this.#uses[place] = uses;
    this.#countedMs[place] = this.#p.nowMs();
    const odds = 1 / (Math.max(0, uses - FRESH_USES) * LOG_FACTOR + 1);
    if (uses < USES_MAX && this.#p.random() < odds) this.#uses[place] = uses + 1;
  }

  /** The key to go next; undefined: there is none. */
  worst(): string | undefined {
    let worst: number | undefined;
    let rank = Number.POSITIVE_INFINITY;
    const isFew = this.#keys.length <= SAMPLES;
    const draws = isFew ? this.#keys.length : SAMPLES;
    for (let i = 0; i < draws; i++) {
      const place = isFew ? i : Math.floor(this.#p.random() * this.#keys.length);
      if (this.#turns[place] === this.#turn && this.#keys.length > 1) continue;
      const each = this.#rankOf(place);
      if (worst !== undefined && (each > rank || (each === rank && this.#isNewer(place, worst)))) continue;
      worst = place;
      rank = each;
    }
    // Nothing but the newest was drawn, or there is nothing else.
    return (
      this.#keys[worst ?? this.#keys.findIndex((_, place) => this.#turns[place] !== this.#turn)] ??
      this.#keys[0]
    );
  }

  #isNewer(place: number, other: number): boolean {
    return (this.#turns[place] as number) > (this.#turns[other] as number);
  }

  /** The lowest goes first. */
  #rankOf(place: number): number {
    if (this.policy === 'lru') return this.#turns[place] as number;
    if (this.policy === 'lfu') return this.#usesOf(place);
    return this.#p.expiryOf(this.#keys[place] as string) || Number.MAX_SAFE_INTEGER;
  }

  #usesOf(place: number): number {
    const forgotten = Math.floor((this.#p.nowMs() - (this.#countedMs[place] as number)) / FORGET_MS);
    return Math.max(0, (this.#uses[place] as number) - forgotten);
  }
}
