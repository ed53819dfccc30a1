// JSON in and out. JSON.parse alone would take any depth and round long numbers, so both are looked after
// here.
//   J1. Nothing is parsed before its depth is known to be at most LIMITS.jsonDepth.
//   J2. Numbers that a double cannot hold keep their digits, from the request into the stored bytes and back.
//   J3. Parsed input is never merged into anything: keys like __proto__ stay plain keys.
import { isUtf8 } from 'node:buffer';
import { FlowError, LIMITS } from '@flowmesh/protocol';

/** A text that is JSON already and is written into a response as it is. */
export class RawJson {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

const OPENING = new Set([0x7b, 0x5b]);
const CLOSING = new Set([0x7d, 0x5d]);
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

function checkDepth(bytes: Buffer): void {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (inString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (OPENING.has(byte) && ++depth > LIMITS.jsonDepth) {
      throw new FlowError('MALFORMED', `JSON is nested deeper than ${LIMITS.jsonDepth} levels`);
    } else if (CLOSING.has(byte)) depth--;
  }
}

/** May hold a number that a double rounds; strings of digits pass as well, which only costs time. */
const LONG_NUMBER = /[\d.]{16,}|\d[eE]/;
const DIGITS_EXACT = 15;

const { rawJSON } = JSON as unknown as { rawJSON(text: string): object };

function exactly(_key: string, value: unknown, context?: { source?: string }): unknown {
  const source = context?.source;
  if (typeof value !== 'number' || source === undefined || String(value) === source) return value;
  const digits = source
    .replace(/[eE].*$/, '')
    .replace(/[-.]/g, '')
    .replace(/^0+/, '');
  const isExact = digits.length <= DIGITS_EXACT && Number.isFinite(value) && (value !== 0 || digits === '');
  return isExact ? value : rawJSON(source);
}

export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new FlowError('MALFORMED', 'the body is not UTF-8');
  checkDepth(bytes);
  const text = bytes.toString('utf8');
  try {
    return LONG_NUMBER.test(text) ? JSON.parse(text, exactly) : JSON.parse(text);
  } catch (cause) {
    throw new FlowError('MALFORMED', `the body is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** JSON.stringify that knows RawJson. Only for what the listener built itself: depth is not checked. */
export function encodeJson(value: unknown): string {
  if (value instanceof RawJson) return value.text;
  if (Array.isArray(value)) return `[${value.map((each) => encodeJson(each ?? null)).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, each]) => each !== undefined);
    return `{${fields.map(([name, each]) => `${JSON.stringify(name)}:${encodeJson(each)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
