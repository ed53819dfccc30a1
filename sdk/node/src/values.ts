// Values are bytes with a content type: objects are application/json, strings text/plain, bytes octet-stream.
// Members of collections have no content type; see `encodeMember`.
import { FlowError } from '@flowmesh/protocol';

export const JSON_TYPE = 'application/json';
export const TEXT_TYPE = 'text/plain';
export const BYTES_TYPE = 'application/octet-stream';

/** The text of a value that travels as text; undefined: it is bytes already. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return undefined;
  const text = JSON.stringify(value);
  if (text === undefined) {
    throw new FlowError(
      'INVALID_ARGUMENT',
      `a value of type ${typeof value} cannot be sent; give JSON, a string or bytes`,
    );
  }
  return text;
}

export const contentTypeOf = (value: unknown): string =>
  typeof value === 'string' ? TEXT_TYPE : value instanceof Uint8Array ? BYTES_TYPE : JSON_TYPE;

export function encodeValue(value: unknown): Uint8Array {
  const text = textOf(value);
  return text === undefined ? (value as Uint8Array) : Buffer.from(text);
}

/**
 * JSON is parsed, text becomes a string, everything else stays bytes (a view on the received message). What
 * has no content type is a counter or was written by a Redis client: whole numbers become numbers.
 */
export function decodeValue(bytes: Uint8Array, contentType: string): unknown {
  if (contentType === JSON_TYPE) return parseJson(utf8(bytes));
  if (contentType === TEXT_TYPE) return utf8(bytes);
  if (contentType === '') return wholeNumber(bytes) ?? bytes;
  if (contentType.startsWith('application/json') || contentType.includes('+json'))
    return parseJson(utf8(bytes));
  if (contentType.startsWith('text/')) return utf8(bytes);
  return bytes;
}

/**
 * Fields and members as Redis clients expect them, and back without loss: a string is its UTF-8 bytes,
 * anything else its JSON (so numbers can be incremented). A string that reads as JSON, such as '12', is
 * written as a JSON string.
 */
export function encodeMember(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === 'string') return Buffer.from(readsAsJson(value) ? JSON.stringify(value) : value);
  return encodeValue(value);
}

export function decodeMember(bytes: Uint8Array): unknown {
  const text = utf8(bytes);
  if (!MAY_BE_JSON.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export const utf8 = (bytes: Uint8Array): string =>
  (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)).toString();

export const bytesOf = (key: string | Uint8Array): Uint8Array =>
  typeof key === 'string' ? Buffer.from(key) : key;

function wholeNumber(bytes: Uint8Array): number | undefined {
  if (bytes.length > 16) return undefined;
  const text = utf8(bytes);
  return /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** What a JSON text can begin with. */
const MAY_BE_JSON = /^[\s{["\-\dtfn]/;

function readsAsJson(text: string): boolean {
  if (!MAY_BE_JSON.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FlowError('MALFORMED', 'the value says it is JSON, but cannot be parsed', { cause });
  }
}
