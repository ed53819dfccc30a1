// Byte-string keys that can be walked in order. Adding is a push, for most keys are never walked. Once they
// have been, a full list of fresh keys is sorted while it is in the processor's cache, and a few of such runs
// become a larger one; before, the lists wait.
//   K1. Runs are sorted; a key may be in several, and is walked once.
//   K2. Runs of at most FRESH_KEYS * FAN keys: no merge takes longer than a millisecond or two.

const FRESH_KEYS = 1024;
const FAN = 8;

export class SortedKeys {
  #fresh: string[] = [];
  #isFreshSorted = true;
  /** Full lists, in order of arrival, until somebody walks. */
  #unsorted: string[][] = [];
  #isWalked: boolean;
  /** Of FRESH_KEYS or a little more; and of FAN times as many. */
  #small: string[][] = [];
  #large: string[][] = [];

  /** `isWalked`: it can be expected to be. */
  constructor(isWalked = true) {
    this.#isWalked = isWalked;
  }

  /** Of all runs: keys added twice count twice. */
  get size(): number {
    const runs = [...this.#unsorted, ...this.#small, ...this.#large];
    return runs.reduce((sum, run) => sum + run.length, this.#fresh.length);
  }

  add(key: string): void {
    const fresh = this.#fresh;
    const last = fresh[fresh.length - 1];
    if (last !== undefined && key < last) this.#isFreshSorted = false;
    fresh.push(key);
    if (fresh.length < FRESH_KEYS) return;
    if (this.#isWalked) this.#seal();
    else {
      this.#unsorted.push(fresh);
      this.#fresh = [];
      this.#isFreshSorted = true;
    }
  }

  /** Forgets keys for which `keep` says no. */
  retain(keep: (key: string) => boolean): void {
    const kept = (runs: string[][]) => runs.map((run) => run.filter(keep)).filter((run) => run.length > 0);
    this.#fresh = this.#fresh.filter(keep);
    this.#unsorted = kept(this.#unsorted);
    this.#small = kept(this.#small);
    this.#large = kept(this.#large);
  }

  /** From the first key >= `from` upwards to the last one < `to`. Must not be changed while it is walked. */
  ascending(from: string, to: string): KeyCursor {
    return new KeyCursor(this.#runsSorted(), { from, to }, 1);
  }

  /** From the last key < `to` downwards to `from`. */
  descending(from: string, to: string): KeyCursor {
    return new KeyCursor(this.#runsSorted(), { from, to }, -1);
  }

  #runsSorted(): string[][] {
    this.#isWalked = true;
    for (const keys of this.#unsorted.splice(0)) this.#addRun(keys.sort());
    if (!this.#isFreshSorted) this.#fresh.sort();
    this.#isFreshSorted = true;
    return [this.#fresh, ...this.#small, ...this.#large];
  }

  #seal(): void {
    if (!this.#isFreshSorted) this.#fresh.sort();
    this.#isFreshSorted = true;
    this.#addRun(this.#fresh);
    this.#fresh = [];
  }

  #addRun(keys: string[]): void {
    this.#small.push(keys);
    if (this.#small.length < FAN) return;
    // The sort finds the runs again and merges them.
    this.#large.push(this.#small.flat().sort());
    this.#small = [];
  }
}

interface Source {
  readonly run: readonly string[];
  at: number;
  /** Behind the last key, in the direction of the walk. */
  readonly end: number;
}

export class KeyCursor {
  /** undefined: the end. */
  key: string | undefined;
  readonly #step: 1 | -1;
  readonly #sources: Source[] = [];

  constructor(runs: readonly string[][], range: { from: string; to: string }, step: 1 | -1) {
    this.#step = step;
    for (const run of runs) {
      const from = lowerBound(run, range.from);
      const to = lowerBound(run, range.to);
      if (from >= to) continue;
      this.#sources.push(step === 1 ? { run, at: from, end: to } : { run, at: to - 1, end: from - 1 });
    }
    this.#look();
  }

  next(): void {
    const { key } = this;
    for (const source of this.#sources) {
      while (source.at !== source.end && source.run[source.at] === key) source.at += this.#step;
    }
    this.#look();
  }

  #look(): void {
    let first: string | undefined;
    for (const { run, at, end } of this.#sources) {
      const key = at === end ? undefined : run[at];
      if (key === undefined) continue;
      if (first === undefined || (this.#step === 1 ? key < first : key > first)) first = key;
    }
    this.key = first;
  }
}

/** Index of the first key >= `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
