// The few forms of DER that a certificate is made of (X.690).
//   E1. Lengths and integers have their shortest form, as DER asks.

const UNIVERSAL = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

export function tagged(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Uint8Array.of(tag, length), content]);
  const digits = bigEndian(BigInt(length));
  return Buffer.concat([Uint8Array.of(tag, 0x80 | digits.length), digits, content]);
}

export const sequence = (...parts: Uint8Array[]) => tagged(UNIVERSAL.sequence, Buffer.concat(parts));
export const set = (...parts: Uint8Array[]) => tagged(UNIVERSAL.set, Buffer.concat(parts));
export const octets = (content: Uint8Array) => tagged(UNIVERSAL.octets, content);
export const utf8 = (text: string) => tagged(UNIVERSAL.utf8, Buffer.from(text));
export const yes = () => tagged(UNIVERSAL.boolean, Uint8Array.of(0xff));

export function integer(value: bigint): Buffer {
  const digits = bigEndian(value);
  // A first bit of 1 would make it negative.
  return tagged(
    UNIVERSAL.integer,
    (digits[0] ?? 0) & 0x80 ? Buffer.concat([Uint8Array.of(0), digits]) : digits,
  );
}

/** `unused`: bits at the end that mean nothing. */
export const bits = (content: Uint8Array, unused = 0) =>
  tagged(UNIVERSAL.bits, Buffer.concat([Uint8Array.of(unused), content]));

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return tagged(UNIVERSAL.oid, Buffer.from([first * 40 + second, ...rest].flatMap(base128)));
}

/** Whole seconds. RFC 5280: two digits of the year before 2050, four from then on. */
export function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const isShort = text < '2050';
  return tagged(
    isShort ? UNIVERSAL.utcTime : UNIVERSAL.generalTime,
    Buffer.from(isShort ? text.slice(2) : text),
  );
}

function base128(value: number): number[] {
  const digits = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) digits.unshift((rest & 0x7f) | 0x80);
  return digits;
}

function bigEndian(value: bigint): Buffer {
  const hex = value.toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
}
