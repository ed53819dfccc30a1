// Row keys: byte strings (one character = one byte, latin1) whose order is the order of their parts. Every
// key starts with the tenant, so that nothing can be read across tenants by accident.
//
//   key   = tenant(u32be) table(u8) part*
//   part  = u32be | u53be (7 bytes) | f64 (8 bytes, order-preserving)
//         | text (0x00 escaped as 0x00 0xff, ends 0x00 0x01)

export type TenantId = number;
export const DEFAULT_TENANT: TenantId = 1;

const BYTE = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i));

/** Big endian, 4 bytes. */
export const u32be = (n: number): string =>
  (BYTE[(n >>> 24) & 255] ?? '') +
  (BYTE[(n >>> 16) & 255] ?? '') +
  (BYTE[(n >>> 8) & 255] ?? '') +
  (BYTE[n & 255] ?? '');

/** Big endian, 7 bytes; for numbers below 2^53. */
export function u53be(n: number): string {
  const high = Math.floor(n / 0x1_0000_0000);
  return (
    (BYTE[(high >>> 16) & 255] ?? '') +
    (BYTE[(high >>> 8) & 255] ?? '') +
    (BYTE[high & 255] ?? '') +
    u32be(n >>> 0)
  );
}

export function readU53be(key: string, at: number): number {
  let value = 0;
  for (let i = at; i < at + 7; i++) value = value * 256 + key.charCodeAt(i);
  return value;
}

export const readU32be = (key: string, at: number): number =>
  ((key.charCodeAt(at) << 24) |
    (key.charCodeAt(at + 1) << 16) |
    (key.charCodeAt(at + 2) << 8) |
    key.charCodeAt(at + 3)) >>>
  0;

const scratch = Buffer.alloc(8);

/** Order-preserving bytes of a finite or infinite double: sign flipped, negatives inverted. */
export function f64be(n: number): string {
  scratch.writeDoubleBE(n === 0 ? 0 : n);
  if ((scratch[0] ?? 0) & 128) for (let i = 0; i < 8; i++) scratch[i] = ~(scratch[i] ?? 0) & 255;
  else scratch[0] = (scratch[0] ?? 0) | 128;
  return scratch.toString('latin1');
}

export function readF64be(key: string, at: number): number {
  scratch.write(key.slice(at, at + 8), 'latin1');
  if ((scratch[0] ?? 0) & 128) scratch[0] = (scratch[0] ?? 0) & 127;
  else for (let i = 0; i < 8; i++) scratch[i] = ~(scratch[i] ?? 0) & 255;
  return scratch.readDoubleBE();
}

/** A byte string as a self-delimiting part. */
export const part = (bytes: string): string =>
  `${bytes.includes('\0') ? bytes.replaceAll('\0', '\0\xff') : bytes}\0\x01`;

/** Reads a part back; returns the byte string and where the next part begins. */
export function readPart(key: string, at: number): { bytes: string; next: number } {
  let end = key.indexOf('\0', at);
  while (end !== -1 && key.charCodeAt(end + 1) === 255) end = key.indexOf('\0', end + 2);
  const raw = key.slice(at, end);
  return { bytes: raw.includes('\0') ? raw.replaceAll('\0\xff', '\0') : raw, next: end + 2 };
}

export const toByteString = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
export const fromByteString = (key: string): Buffer => Buffer.from(key, 'latin1');
export const textToByteString = (text: string): string => Buffer.from(text).toString('latin1');

/** The first key behind every key that starts with `prefix`. */
export function after(prefix: string): string {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const code = prefix.charCodeAt(i);
    if (code < 255) return prefix.slice(0, i) + (BYTE[code + 1] ?? '');
  }
  return '\xff'.repeat(prefix.length + 1);
}
