// CRC-32C (Castagnoli), which LevelDB's files carry; zlib has only the other one. Eight bytes a step.

const POLYNOMIAL = 0x82f6_3b78;

/** TABLES[k][b]: what byte b does to the crc, k bytes before the end of a step. */
const TABLES = Array.from({ length: 8 }, () => new Int32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  (TABLES[0] as Int32Array)[byte] = crc;
}
for (let k = 1; k < 8; k++) {
  for (let byte = 0; byte < 256; byte++) {
    const before = TABLES[k - 1]?.[byte] ?? 0;
    (TABLES[k] as Int32Array)[byte] = (before >>> 8) ^ (TABLES[0]?.[before & 0xff] ?? 0);
  }
}
const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** Of `bytes` from `from` to `to`. */
export function crc32c(bytes: Uint8Array, from: number, to: number): number {
  let crc = -1;
  let i = from;
  for (const end = to - 7; i < end; i += 8) {
    crc ^=
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24);
    crc =
      (t7[crc & 0xff] as number) ^
      (t6[(crc >>> 8) & 0xff] as number) ^
      (t5[(crc >>> 16) & 0xff] as number) ^
      (t4[crc >>> 24] as number) ^
      (t3[bytes[i + 4] as number] as number) ^
      (t2[bytes[i + 5] as number] as number) ^
      (t1[bytes[i + 6] as number] as number) ^
      (t0[bytes[i + 7] as number] as number);
  }
  for (; i < to; i++) crc = (crc >>> 8) ^ (t0[(crc ^ (bytes[i] as number)) & 0xff] as number);
  return ~crc >>> 0;
}
