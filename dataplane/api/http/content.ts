// Bytes in JSON: a value with a JSON content type is inlined (`payload`), any other is Base64
// (`payloadBase64`), in both directions. What a client sends inline is stored as application/json.
import { isUtf8 } from 'node:buffer';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { RawJson } from './json.ts';

const JSON_TYPE = /^application\/(?:[\w.!#$&^-]+\+)?json *(?:;|$)/i;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const OCTETS = 'application/octet-stream';

export interface Content {
  readonly bytes: Buffer;
  readonly contentType: string;
}

type Body = Record<string, unknown>;

/**
 * Reads `payload` or `payloadBase64`, and `contentType`, from a body. Exactly one of the two must be there.
 */
export function readContent(body: Body, field: 'payload' | 'value'): Content {
  const encoded = body[`${field}Base64`];
  const isInline = Object.hasOwn(body, field);
  if (isInline === (encoded !== undefined)) {
    throw new FlowError('INVALID_ARGUMENT', `give either ${field} (any JSON) or ${field}Base64`);
  }
  const contentType = typeof body['contentType'] === 'string' ? body['contentType'] : undefined;
  if (!isInline) return { bytes: fromBase64(encoded, `${field}Base64`), contentType: contentType ?? OCTETS };
  if (contentType !== undefined && !JSON_TYPE.test(contentType)) {
    throw new FlowError('INVALID_ARGUMENT', `${contentType} is not JSON: send the bytes as ${field}Base64`);
  }
  // Not encodeJson: numbers that were kept exactly are raw JSON values, which only JSON.stringify writes.
  const bytes = Buffer.from(JSON.stringify(body[field]));
  return { bytes, contentType: contentType ?? 'application/json' };
}

export function fromBase64(value: unknown, field: string): Buffer {
  if (typeof value !== 'string' || !BASE64.test(value) || value.replace(/=+$/, '').length % 4 === 1) {
    throw new FlowError('MALFORMED', `${field} is not Base64`);
  }
  return Buffer.from(value, 'base64');
}

type Bytes = Uint8Array | null | undefined;

const bufferOf = (bytes: Bytes): Buffer =>
  bytes ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : Buffer.alloc(0);

/** The fields `<field>` or `<field>Base64`, and `contentType`. */
export function contentFields(
  field: 'payload' | 'value' | 'result',
  value: Bytes,
  contentType: string | null | undefined,
): Body {
  const bytes = bufferOf(value);
  const type = contentType || OCTETS;
  const text = JSON_TYPE.test(type) ? jsonText(bytes) : undefined;
  return text === undefined
    ? { [`${field}Base64`]: bytes.toString('base64'), contentType: type }
    : { [field]: new RawJson(text), contentType: type };
}

/** Any JSON of a body as bytes. */
export const jsonBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** The bytes as text if they are JSON; a producer may call anything application/json. */
function jsonText(bytes: Buffer): string | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString('utf8');
  try {
    JSON.parse(text);
    return text;
  } catch {
    return undefined;
  }
}

/** `key`, or `keyBase64` when it is not text; null: none. */
export function keyFields(value: Bytes, name = 'key'): Body {
  const bytes = bufferOf(value);
  if (bytes.length === 0) return { [name]: null };
  const isText = isUtf8(bytes);
  return isText ? { [name]: bytes.toString('utf8') } : { [`${name}Base64`]: bytes.toString('base64') };
}

export function readKey(body: Body, name = 'key'): Buffer {
  const key = body[name];
  const base64 = body[`${name}Base64`];
  if (typeof key === 'string' && base64 !== undefined) {
    throw new FlowError('INVALID_ARGUMENT', `give ${name} or ${name}Base64, not both`);
  }
  if (typeof key === 'string') return Buffer.from(key);
  return base64 === undefined ? Buffer.alloc(0) : fromBase64(base64, `${name}Base64`);
}

type Headers = { readonly [name: string]: Uint8Array } | null | undefined;

/** `headers` holds those that are text, `headersBase64` the others. */
export function headerFields(headers: Headers): Body {
  const all = Object.entries(headers ?? {}).map(([name, value]) => [name, bufferOf(value)] as const);
  const text = all
    .filter(([, value]) => isUtf8(value))
    .map(([name, value]) => [name, value.toString('utf8')]);
  const binary = all
    .filter(([, value]) => !isUtf8(value))
    .map(([name, value]) => [name, value.toString('base64')]);
  const fields = { headers: Object.fromEntries(text) };
  return binary.length === 0 ? fields : { ...fields, headersBase64: Object.fromEntries(binary) };
}

export interface HeaderBody {
  readonly headers?: Record<string, string>;
  readonly headersBase64?: Record<string, string>;
}

/** fromEntries defines properties, so a header called __proto__ is a header and nothing else. */
export function readHeaders({ headers = {}, headersBase64 = {} }: HeaderBody): Record<string, Buffer> {
  const text = Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)] as const);
  const binary = Object.entries(headersBase64).map(
    ([name, value]) => [name, fromBase64(value, `headersBase64.${name}`)] as const,
  );
  return Object.fromEntries([...text, ...binary]);
}

/** Only what is set. */
export function envelopeFields(envelope: pb.EnvelopeInput | null | undefined): Body {
  const set = Object.entries(envelope ?? {}).filter(([, value]) =>
    Array.isArray(value) ? value.length > 0 : Boolean(value),
  );
  return { envelope: Object.fromEntries(set) };
}

export function readEnvelope(
  envelope: pb.EnvelopeInput | undefined,
  traceparent: string | undefined,
): pb.Envelope | null {
  if (!envelope && traceparent === undefined) return null;
  return pb.Envelope.create({ ...(traceparent === undefined ? {} : { traceparent }), ...envelope });
}

const DURABILITY: Record<number, string> = { 1: 'fsync', 2: 'os', 3: 'memory' };

/** `durability` of a reply, in the words of the documentation. */
export const durabilityFields = (durability: number | null | undefined): Body => ({
  durability: DURABILITY[durability ?? 0] ?? 'unspecified',
});

/** A message without bytes as JSON, with every field there. */
export function messageFields<T, Input>(type: pb.MessageType<T, Input>, message: Input): Body {
  const options = { defaults: true, longs: Number, enums: String };
  return type.toObject(message as unknown as T, options);
}
