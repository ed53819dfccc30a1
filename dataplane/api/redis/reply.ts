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

/** Collects encoded replies until they are taken to the socket. */
export class ReplyWriter {
  #pieces: (string | Buffer)[] = [];
  bytes = 0;

  write(reply: Reply, protocol: Protocol): void {
    if (typeof reply === 'number' || typeof reply === 'bigint') this.#text(`:${reply}\r\n`);
    else if (reply === null) this.#text(protocol === 3 ? '_\r\n' : '$-1\r\n');
    else if (typeof reply === 'string') this.#text(`$${Buffer.byteLength(reply)}\r\n${reply}\r\n`);
    else if (typeof reply === 'boolean') {
      this.#text(protocol === 3 ? `#${reply ? 't' : 'f'}\r\n` : `:${reply ? 1 : 0}\r\n`);
    } else if (Buffer.isBuffer(reply)) this.#bulk(reply);
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

  /** What was written since the last time, as few buffers as the sizes allow. */
  take(): Buffer {
    const out = Buffer.allocUnsafe(this.bytes);
    let at = 0;
    for (const piece of this.#pieces) {
      at += typeof piece === 'string' ? out.write(piece, at) : piece.copy(out, at);
    }
    this.#pieces = [];
    this.bytes = 0;
    return out;
  }

  #double(value: number, protocol: Protocol): void {
    const text = doubleText(value);
    this.#text(protocol === 3 ? `,${text}\r\n` : `$${text.length}\r\n${text}\r\n`);
  }

  #bulk(bytes: Buffer): void {
    this.#text(`$${bytes.length}\r\n`);
    this.#pieces.push(bytes);
    this.bytes += bytes.length;
    this.#text('\r\n');
  }

  #text(text: string): void {
    this.#pieces.push(text);
    this.bytes += Buffer.byteLength(text);
  }
}
