// Requests as Redis clients send them: arrays of bulk strings, the same in RESP2 and RESP3.
//   *2\r\n $3\r\nGET\r\n $1\r\nk\r\n
//   R1. Bounded before it is kept: arguments, bytes of one, bytes of a request.
//   R2. Anything but an array ends the connection. Inline commands are how the lines of an HTTP request
//       from a browser would become commands (Redis looks for `POST` and `Host:` instead).

export interface ParserLimits {
  readonly argumentsMax: number;
  readonly argumentBytesMax: number;
  readonly requestBytesMax: number;
}

/** The bytes are no request, or too large a one: answer with the message and close. */
export class ProtocolError extends Error {}

const STAR = 42;
const DOLLAR = 36;
const CR = 13;
const LF = 10;
/** `*` or `$`, at most 10 digits, CR LF. */
const LINE_BYTES_MAX = 13;

export class RequestParser {
  readonly #limits: ParserLimits;
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes that the request at the front of `#rest` has at least: until then a look at it is in vain. */
  #wanted = 0;

  constructor(limits: ParserLimits) {
    this.#limits = limits;
  }

  /** A request has begun that is not all there. */
  get isMidway(): boolean {
    return this.#rest.length > 0;
  }

  /** Whole requests go to `found`, in order. Arguments are views on `chunk` or on a copy of it. */
  feed(chunk: Buffer, found: (request: Buffer[]) => void): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (bytes.length < this.#wanted) {
      this.#rest = bytes;
      return;
    }
    let at = 0;
    for (;;) {
      const request = this.#request(bytes, at);
      if (request === null) break;
      at = request.end;
      if (request.parts.length > 0) found(request.parts);
    }
    this.#rest = bytes.subarray(at);
    this.#wanted = Math.max(0, this.#wanted - at);
  }

  /** null: it is not all there. */
  #request(bytes: Buffer, start: number): { parts: Buffer[]; end: number } | null {
    this.#wanted = start + 1;
    if (start >= bytes.length) return null;
    if (bytes[start] !== STAR) throw new ProtocolError('expected an array of bulk strings');
    const head = length(bytes, start);
    if (head === null) return null;
    if (head.value > this.#limits.argumentsMax) throw new ProtocolError('invalid multibulk length');
    let at = head.end;
    const parts: Buffer[] = [];
    for (let i = 0; i < head.value; i++) {
      if (at >= bytes.length) return null;
      if (bytes[at] !== DOLLAR) throw new ProtocolError("expected '$'");
      const bulk = length(bytes, at);
      if (bulk === null) return null;
      if (bulk.value < 0 || bulk.value > this.#limits.argumentBytesMax) {
        throw new ProtocolError('invalid bulk length');
      }
      const end = bulk.end + bulk.value;
      if (end - start > this.#limits.requestBytesMax) throw new ProtocolError('the request is too large');
      if (end + 2 > bytes.length) {
        this.#wanted = end + 2;
        return null;
      }
      if (bytes[end] !== CR || bytes[end + 1] !== LF) throw new ProtocolError('expected CR LF');
      parts.push(bytes.subarray(bulk.end, end));
      at = end + 2;
    }
    return { parts, end: at };
  }
}

/** The number behind the type byte; null: its line is not all there. */
function length(bytes: Buffer, start: number): { value: number; end: number } | null {
  let at = start + 1;
  const isNegative = bytes[at] === 45;
  if (isNegative) at++;
  let value = 0;
  const digitsAt = at;
  for (; at < bytes.length; at++) {
    const digit = (bytes[at] ?? 0) - 48;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
    if (at - start > LINE_BYTES_MAX) throw new ProtocolError('invalid length');
  }
  if (at + 1 >= bytes.length) {
    if (at < bytes.length && bytes[at] !== CR) throw new ProtocolError('invalid length');
    return null;
  }
  if (at === digitsAt || bytes[at] !== CR || bytes[at + 1] !== LF) throw new ProtocolError('invalid length');
  return { value: isNegative ? -value : value, end: at + 2 };
}
