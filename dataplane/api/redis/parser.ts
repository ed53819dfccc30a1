// Requests as Redis clients send them: arrays of bulk strings, the same in RESP2 and RESP3.
//   *2\r\n $3\r\nGET\r\n $1\r\nk\r\n
//   R1. Bounded before it is kept: arguments, bytes of one, bytes of a request.
//   R2. Anything but an array ends the connection. Inline commands are how the lines of an HTTP request
//       from a browser would become commands (Redis looks for `POST` and `Host:` instead).
//   R3. Every byte is looked at once, however the bytes are cut: arguments that are whole are kept, and what
//       comes of a long one is put together when its end is there.

export interface ParserLimits {
  readonly argumentsMax: number;
  readonly argumentBytesMax: number;
  readonly requestBytesMax: number;
}

/** The bytes are no request, or too large a one: answer with the message and close. */
export class ProtocolError extends Error {}

/** What nearly all requests ask for. Their names, in any case, come as these very objects. */
export const GET = Buffer.from('GET');
export const SET = Buffer.from('SET');

const STAR = 42;
const DOLLAR = 36;
const MINUS = 45;
const CR = 13;
const LF = 10;
/** `*` or `$`, at most 10 digits, CR LF. */
const LINE_BYTES_MAX = 13;
/** The line is not all there. */
const INCOMPLETE = Number.NEGATIVE_INFINITY;

/** A piece costs more than its bytes: so many are made one. */
const PIECES_MAX = 256;
const EMPTY: Buffer = Buffer.alloc(0);

export class RequestParser {
  /** May change between two requests. */
  limits: ParserLimits;
  /** Bytes behind the last whole argument. */
  #rest: Buffer[] = [];
  #restBytes = 0;
  /** Bytes from there that are needed to get any further. */
  #wanted = 1;
  /** Of the request that has begun: arguments that are whole, how many are not, bytes. */
  #parts: Buffer[] = [];
  #missing = 0;
  #requestBytes = 0;
  /** Behind the line that was read last. */
  #end = 0;

  constructor(limits: ParserLimits) {
    this.limits = limits;
  }

  /** A request has begun that is not all there. */
  get isMidway(): boolean {
    return this.#missing > 0 || this.#restBytes > 0;
  }

  /** Whole requests go to `found`, in order. Arguments are views on what came. */
  feed(chunk: Buffer, found: (request: Buffer[]) => void): void {
    const bytes = this.#joined(chunk);
    if (bytes === null) return;
    let at = 0;
    for (;;) {
      const end = this.#missing === 0 ? this.#begin(bytes, at) : this.#argument(bytes, at);
      if (end === INCOMPLETE) break;
      this.#requestBytes += end - at;
      at = end;
      if (this.#missing > 0 || this.#parts.length === 0) continue;
      const request = this.#parts;
      this.#parts = [];
      found(request);
    }
    if (at < bytes.length) {
      this.#rest = [at === 0 ? bytes : bytes.subarray(at)];
      this.#restBytes = bytes.length - at;
    }
  }

  /** What is there from the last whole argument on; null: too little to look at. */
  #joined(chunk: Buffer): Buffer | null {
    if (this.#restBytes === 0) return chunk;
    this.#rest.push(chunk);
    this.#restBytes += chunk.length;
    const isEnough = this.#restBytes >= this.#wanted;
    if (!isEnough && this.#rest.length < PIECES_MAX) return null;
    const bytes = Buffer.concat(this.#rest, this.#restBytes);
    this.#rest = isEnough ? [] : [bytes];
    if (!isEnough) return null;
    this.#restBytes = 0;
    return bytes;
  }

  /** Where the arguments begin. */
  #begin(bytes: Buffer, at: number): number {
    this.#wanted = 1;
    if (at >= bytes.length) return INCOMPLETE;
    if (bytes[at] !== STAR) throw new ProtocolError('expected an array of bulk strings');
    const count = this.#number(bytes, at);
    if (count === INCOMPLETE) return INCOMPLETE;
    if (count > this.limits.argumentsMax) throw new ProtocolError('invalid multibulk length');
    this.#missing = Math.max(0, count);
    this.#requestBytes = 0;
    return this.#end;
  }

  /** Behind the argument. */
  #argument(bytes: Buffer, at: number): number {
    this.#wanted = 1;
    if (at >= bytes.length) return INCOMPLETE;
    if (bytes[at] !== DOLLAR) throw new ProtocolError("expected '$'");
    const length = this.#number(bytes, at);
    if (length === INCOMPLETE) return INCOMPLETE;
    if (length < 0 || length > this.limits.argumentBytesMax) throw new ProtocolError('invalid bulk length');
    const from = this.#end;
    const end = from + length;
    if (this.#requestBytes + end - at > this.limits.requestBytesMax) {
      throw new ProtocolError('the request is too large');
    }
    if (end + 2 > bytes.length) {
      this.#wanted = end + 2 - at;
      return INCOMPLETE;
    }
    if (bytes[end] !== CR || bytes[end + 1] !== LF) throw new ProtocolError('expected CR LF');
    this.#parts.push(this.#parts.length === 0 ? nameAt(bytes, from, end) : bytes.subarray(from, end));
    this.#missing--;
    return end + 2;
  }

  /** The number behind the type byte; `#end` is behind its line. */
  #number(bytes: Buffer, start: number): number {
    let at = start + 1;
    const isNegative = bytes[at] === MINUS;
    if (isNegative) at++;
    let value = 0;
    const digitsAt = at;
    for (; at < bytes.length; at++) {
      const digit = (bytes[at] as number) - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      if (at - start > LINE_BYTES_MAX) throw new ProtocolError('invalid length');
    }
    if (at + 1 >= bytes.length) {
      if (at < bytes.length && bytes[at] !== CR) throw new ProtocolError('invalid length');
      return INCOMPLETE;
    }
    if (at === digitsAt || bytes[at] !== CR || bytes[at + 1] !== LF) {
      throw new ProtocolError('invalid length');
    }
    this.#end = at + 2;
    return isNegative ? -value : value;
  }
}

function nameAt(bytes: Buffer, from: number, end: number): Buffer {
  if (end - from === 3 && lower(bytes, from + 1) === 101 && lower(bytes, from + 2) === 116) {
    const first = lower(bytes, from);
    if (first === 103) return GET;
    if (first === 115) return SET;
  }
  return from === end ? EMPTY : bytes.subarray(from, end);
}

const lower = (bytes: Buffer, at: number): number => (bytes[at] as number) | 32;
