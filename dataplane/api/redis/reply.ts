// Replies: plain values and a few wrappers, encoded as RESP2 or RESP3.
//   Buffer or string: bulk string   number, bigint: integer   null: nil   array: array   undefined: nothing
export type Reply =
  | Buffer
  | string
  | number
  | bigint
  | null
  | boolean
  | Simple
  | RedisError
  | Double
  | Pairs
  | Members
  | Scored
  | readonly Reply[];

/** `+OK` */
export class Simple {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export const OK = new Simple('OK');

/** The text begins with its kind: `ERR ...`, `WRONGTYPE ...`. */
export class RedisError extends Error {}

export class Double {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** A map in RESP3, its pairs one after the other in RESP2. */
export class Pairs {
  readonly entries: readonly (readonly [Reply, Reply])[];
  constructor(entries: readonly (readonly [Reply, Reply])[]) {
    this.entries = entries;
  }
}

/** A set in RESP3, an array in RESP2. */
export class Members {
  readonly items: readonly Reply[];
  constructor(items: readonly Reply[]) {
    this.items = items;
  }
}

/** Members with their scores: nested in RESP3, one after the other in RESP2. */
export class Scored {
  readonly pairs: readonly (readonly [Buffer, Double])[];
  constructor(pairs: readonly (readonly [Buffer, Double])[]) {
    this.pairs = pairs;
  }
}

export type Protocol = 2 | 3;

/** As Redis since 7.2 writes doubles: the shortest text that reads back as the same number. */
export function doubleText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return 'inf';
  if (value === Number.NEGATIVE_INFINITY) return '-inf';
  return Object.is(value, -0) ? '-0' : String(value);
}

const CR = 13;
const LF = 10;
const DOLLAR = 36;
/** `$`, digits, CR LF. */
const HEAD_BYTES_MAX = 20;
const CAPACITY = 16 * 1024;
/** Larger ones are not kept for the next replies. */
const KEPT_BYTES_MAX = 256 * 1024;

/** Collects encoded replies of one connection until they go to its socket; then it may serve another. */
export class ReplyWriter {
  #out = Buffer.allocUnsafe(CAPACITY);
  #length = 0;

  get bytes(): number {
    return this.#length;
  }

  write(reply: Reply, protocol: Protocol): void {
    if (typeof reply === 'number' || typeof reply === 'bigint') this.#text(`:${reply}\r\n`);
    else if (reply === null) this.#text(protocol === 3 ? '_\r\n' : '$-1\r\n');
    else if (typeof reply === 'string') this.#text(`$${Buffer.byteLength(reply)}\r\n${reply}\r\n`);
    else if (typeof reply === 'boolean') {
      this.#text(protocol === 3 ? `#${reply ? 't' : 'f'}\r\n` : `:${reply ? 1 : 0}\r\n`);
    } else if (Buffer.isBuffer(reply)) this.#bulk(reply);
    else if (reply === OK) this.#put(OK_BYTES);
    else if (reply instanceof Simple) this.#text(`+${reply.text}\r\n`);
    else if (reply instanceof RedisError) this.#text(`-${reply.message.replace(/[\r\n]/g, ' ')}\r\n`);
    else if (reply instanceof Double) this.#double(reply.value, protocol);
    else if (reply instanceof Pairs) {
      const { entries } = reply;
      this.#text(protocol === 3 ? `%${entries.length}\r\n` : `*${entries.length * 2}\r\n`);
      for (const [name, value] of entries) {
        this.write(name, protocol);
        this.write(value, protocol);
      }
    } else if (reply instanceof Members) {
      this.#text(`${protocol === 3 ? '~' : '*'}${reply.items.length}\r\n`);
      for (const item of reply.items) this.write(item, protocol);
    } else if (reply instanceof Scored)
      this.write(protocol === 3 ? reply.pairs : reply.pairs.flat(), protocol);
    else {
      const items = reply as readonly Reply[];
      this.#text(`*${items.length}\r\n`);
      for (const item of items) this.write(item, protocol);
    }
  }

  /** What was written since the last time, as a buffer of its own. */
  take(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#length);
    this.#out.copy(bytes, 0, 0, this.#length);
    this.#length = 0;
    if (this.#out.length > KEPT_BYTES_MAX) this.#out = Buffer.allocUnsafe(CAPACITY);
    return bytes;
  }

  #double(value: number, protocol: Protocol): void {
    const text = doubleText(value);
    this.#text(protocol === 3 ? `,${text}\r\n` : `$${text.length}\r\n${text}\r\n`);
  }

  /** By hand: this is what most replies are. */
  #bulk(bytes: Buffer): void {
    this.#reserve(bytes.length + HEAD_BYTES_MAX);
    const out = this.#out;
    let at = this.#length;
    out[at++] = DOLLAR;
    let digits = 1;
    while (10 ** digits <= bytes.length) digits++;
    for (let i = digits - 1, rest = bytes.length; i >= 0; i--, rest = Math.floor(rest / 10)) {
      out[at + i] = 48 + (rest % 10);
    }
    at += digits;
    out[at++] = CR;
    out[at++] = LF;
    at += bytes.copy(out, at);
    out[at++] = CR;
    out[at++] = LF;
    this.#length = at;
  }

  #text(text: string): void {
    this.#reserve(text.length * 3);
    this.#length += this.#out.write(text, this.#length);
  }

  #put(bytes: Buffer): void {
    this.#reserve(bytes.length);
    this.#length += bytes.copy(this.#out, this.#length);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#out.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#out.length * 2, this.#length + bytes));
    this.#out.copy(larger, 0, 0, this.#length);
    this.#out = larger;
  }
}

const OK_BYTES = Buffer.from('+OK\r\n');
