// What every listener and every SDK takes at most, in one place (docs/reference/defaults.md).

/** Limits that every listener enforces. Bytes unless said. */
export const LIMITS = {
  keyBytes: 1024,
  valueBytes: 1024 * 1024,
  headers: 64,
  headerBytes: 1024,
  batchBytes: 3 * 1024 * 1024,
  batchRecords: 10_000,
  nameBytes: 255,
  metadataBytes: 4096,
  jsonDepth: 64,
} as const;
