// What retention may take of a stream, and how much is left of it then. That records are dense, in place and
// there once is for the book of streams to say.
import type { Sim } from './sim.ts';

export interface Terms {
  readonly stream: string;
  /** 0: for ever. */
  readonly retentionMs: number;
  /** 0: any number. */
  readonly retentionBytes: number;
}

/** Where a log begins and ends, as one answer says it. */
export interface Extent {
  readonly start: number;
  readonly end: number;
  readonly bytes: number;
}

interface Aged {
  readonly bytes: number;
  readonly appendedMs: number;
}

/** What a record is stored with beside its value, the batch around it included, is less. */
const OVERHEAD_BYTES_MAX = 200;

export class AgeingBook {
  readonly terms: Terms;
  readonly #sim: Sim;
  /** By offset: what was read. */
  readonly #records = new Map<number, Aged>();
  #start = 0;

  constructor(sim: Sim, terms: Terms) {
    this.#sim = sim;
    this.terms = terms;
  }

  saw(offset: number, record: Aged): void {
    this.#records.set(offset, record);
  }

  /** One answer after the other; `nowMs`: the shard's time since. */
  said({ start, end, bytes }: Extent, nowMs: number): void {
    const { stream, retentionBytes } = this.terms;
    const where = () => `${stream} begins at ${start} and ends at ${end} with ${bytes} bytes`;
    const before = this.#start;
    this.#sim.expect(start >= before, 'what is gone is gone', () => `${where()}; ${before} was said`);
    if (start > before) {
      this.#sim.count(`trimmed by ${retentionBytes > 0 ? 'size' : 'age'}`);
      for (let offset = before; offset < start; offset++) this.#gone(offset, nowMs);
      this.#start = start;
    }
    this.#sim.expect(start === 0 || bytes >= retentionBytes, 'what size allows is kept', where);
  }

  #gone(offset: number, nowMs: number): void {
    const { stream, retentionMs } = this.terms;
    const known = this.#records.get(offset);
    this.#records.delete(offset);
    // Nobody read it, or the server is down already.
    if (known === undefined || nowMs === 0 || retentionMs === 0) return;
    const age = nowMs - known.appendedMs;
    this.#sim.expect(age >= retentionMs, 'what is young is kept', () => `${offset} of ${stream}: ${age} ms`);
  }

  /** When nobody writes any more, and all that is there was read. */
  measure({ start, end, bytes }: Extent): void {
    let least = 0;
    for (let offset = start; offset < end; offset++) {
      least += this.#records.get(offset)?.bytes ?? 0;
    }
    const most = least + (end - start) * OVERHEAD_BYTES_MAX;
    const how = () => `${start} to ${end} of ${this.terms.stream}: ${bytes}, not ${least} to ${most}`;
    this.#sim.expect(bytes >= least && bytes <= most, 'bytes are those of what is there', how);
  }
}
