// Headers travel as bytes; strings are UTF-8.
import { FlowError, LIMITS } from '@flowmesh/protocol';

/** Names of at most 255 bytes; values are text or bytes. */
export type Headers =
  | Readonly<Record<string, string | Uint8Array>>
  | ReadonlyMap<string, string | Uint8Array>;

/** Checked here, because in a batch a bad header would fail its neighbours as well. */
export function headersOf(headers: Headers): Map<string, Uint8Array> {
  const encoded = new Map<string, Uint8Array>();
  const entries = headers instanceof Map ? headers.entries() : Object.entries(headers);
  for (const [name, value] of entries) {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    const size = 1 + Buffer.byteLength(name) + bytes.length;
    if (size > LIMITS.headerBytes || size - bytes.length > 256) {
      throw new FlowError(
        'HEADERS_TOO_LARGE',
        `header ${name.slice(0, 40)} of ${size} bytes, at most ${LIMITS.headerBytes}`,
      );
    }
    encoded.set(name, bytes);
  }
  if (encoded.size > LIMITS.headers) {
    throw new FlowError(
      'HEADERS_TOO_LARGE',
      `${encoded.size} headers, at most ${LIMITS.headers} are accepted`,
    );
  }
  return encoded;
}

/**
 * Headers as a handler reads them: text where the bytes are UTF-8 text, as they came otherwise in `bytes`.
 */
export function decodeHeaders(headers: ReadonlyMap<string, Uint8Array> | undefined): Record<string, string> {
  const decoded: Record<string, string> = Object.create(null);
  if (headers !== undefined) {
    for (const [name, value] of headers) decoded[name] = Buffer.from(value).toString();
  }
  return decoded;
}
