export * from './errors.ts';
export * from './flow-error.ts';
export * from './identities.ts';
export * from './limits.ts';
export * from './partitioner.ts';
export {
  BATCH_HEAD_BYTES,
  type BatchHead,
  type BatchRecord,
  CONTENT_TYPES,
  DEDUP_MODES,
  type DecodedRecord,
  type DedupMode,
  decodeBatch,
  decodeEntry,
  ENTRY_INDEXED,
  type EntrySpan,
  type Envelope,
  EXT,
  FLAG_GAP,
  FLAG_PLAIN,
  patchHead,
  readCause,
  readEntries,
  readExt,
  readHead,
  readNumber,
  readU64,
  sealBody,
  VERSION,
  validateBatch,
  writeU64,
} from './record-batch.ts';
export * from './record-batch-builder.ts';
