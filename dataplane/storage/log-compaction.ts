// Cleaning of a log by key: rewrites sealed segments so that of each key the last record stays.
//   C1. A record goes only if a later one of its key stays; a tombstone only if it was cleaned before, at
//       least `tombstoneRetentionMs` ago: then nothing older of its key is left.
//   C2. The newest record of the log stays, so that a log ends in a record; so does what has no key.
//   C3. Only what is written, synced and below `limit` is read. A new file is complete and synced before it
//       takes the place of the old ones; recovery has what the last checkpoint counts on: the old or the new.
//   C4. Segments change in order of offsets, so that the marks of tombstones (C1) hold after any crash.
//   C5. Memory is bounded by `keyBytesMax`: keys that do not fit are for the next pass. `pace` is awaited
//       before each piece of PIECE_BYTES.
import { BATCH_HEAD_BYTES, readEntries, readHead } from '@flowmesh/protocol';
import { type Fate, type Piece, Pieces, readEntry } from './compacted-batch.ts';
import type { CompactionTerms } from './contract.ts';
import type { FileHandles } from './file-handles.ts';
import { checkBatch, looseHead, type Segment } from './log-segment.ts';

const PIECE_BYTES = 128 * 1024;
/** What a key costs in a Map beside its text. */
const KEY_COST_BYTES = 64;
const KEY_BYTES_MAX = 24 * 1024 * 1024;

/** What a pass needs of its log. */
export interface CompactedLog {
  readonly handles: FileHandles;
  readonly segmentBytes: number;
  readonly endOffset: number;
  /** Everything before it was cleaned once. */
  cleanedTo: number;
  /** When the oldest tombstone that stayed was marked; 0: there is none. */
  tombstonesFromMs: number;
  eligible(terms: CompactionTerms): Segment[];
  /** An empty segment of the next generation. */
  newSegment(base: number): Segment;
  /** False: they were trimmed meanwhile. */
  replace(old: readonly Segment[], made: Segment): boolean;
  syncDirectory(): Promise<void>;
  unlink(segment: Segment): Promise<void>;
}

interface Visit {
  readonly bytes: Buffer;
  readonly at: number;
}

/** One pass over the log. Resolves to whether there is more to clean. */
export async function cleanLog(log: CompactedLog, terms: CompactionTerms): Promise<boolean> {
  const segments = log.eligible(terms);
  const end = segments[segments.length - 1]?.endOffset;
  if (end === undefined) return false;
  const keys = new Map<string, number>();
  const mappedTo = await mapKeys(log, segments, terms, keys);
  let oldestMarkMs = 0;
  for (const group of groupsOf(segments, log.segmentBytes)) {
    if ((group[0]?.base ?? 0) >= mappedTo) break;
    const sieve = new Sieve(log, terms, keys, mappedTo);
    if (!(await rewrite(log, group, terms, sieve))) return false;
    if (sieve.oldestMarkMs > 0 && (oldestMarkMs === 0 || sieve.oldestMarkMs < oldestMarkMs))
      oldestMarkMs = sieve.oldestMarkMs;
  }
  log.tombstonesFromMs = oldestMarkMs;
  log.cleanedTo = mappedTo;
  return mappedTo < end;
}

/** Newest offset of each key from `cleanedTo` on; returns the offset up to which keys fitted (C5). */
async function mapKeys(
  log: CompactedLog,
  segments: readonly Segment[],
  terms: CompactionTerms,
  keys: Map<string, number>,
): Promise<number> {
  let bytesLeft = terms.keyBytesMax ?? KEY_BYTES_MAX;
  // Nothing is dirty: a pass for tombstones that are due reads no keys at all.
  let mappedTo = Math.max(log.cleanedTo, segments[0]?.base ?? 0);
  for (const segment of segments) {
    if (segment.endOffset <= log.cleanedTo) continue;
    for await (const { bytes, at } of batchesOf(log.handles, segment, terms)) {
      const head = readHead(bytes, at);
      if (head.baseOffset + head.count <= log.cleanedTo) continue;
      if (bytesLeft <= 0) return mappedTo;
      for (const [i, span] of readEntries(bytes, at, head).entries()) {
        const { key } = readEntry(bytes, span);
        if (key === null) continue;
        if (!keys.has(key)) bytesLeft -= key.length + KEY_COST_BYTES;
        keys.set(key, head.baseOffset + i);
      }
      mappedTo = head.baseOffset + head.count;
    }
  }
  return mappedTo;
}

/** Neighbours that fit into one segment together. */
function* groupsOf(segments: readonly Segment[], bytesMax: number): Generator<Segment[]> {
  let group: Segment[] = [];
  let bytes = 0;
  for (const segment of segments) {
    if (group.length > 0 && bytes + segment.bytes > bytesMax) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(segment);
    bytes += segment.bytes;
  }
  if (group.length > 0) yield group;
}

/** Decides about entries (C1, C2), and notes whether anything changes. */
class Sieve {
  readonly #log: CompactedLog;
  readonly #terms: CompactionTerms;
  readonly #keys: ReadonlyMap<string, number>;
  readonly #mappedTo: number;
  hasChanged = false;
  /** Of the tombstones that stay. */
  oldestMarkMs = 0;

  constructor(
    log: CompactedLog,
    terms: CompactionTerms,
    keys: ReadonlyMap<string, number>,
    mappedTo: number,
  ) {
    this.#log = log;
    this.#terms = terms;
    this.#keys = keys;
    this.#mappedTo = mappedTo;
  }

  fates(
    bytes: Buffer,
    at: number,
  ): { head: ReturnType<typeof readHead>; spans: ReturnType<typeof readEntries>; fates: Fate[] } {
    const head = readHead(bytes, at);
    const spans = readEntries(bytes, at, head);
    const fates = spans.map((span, i) => this.#fate(readEntry(bytes, span), head.baseOffset + i));
    return { head, spans, fates };
  }

  #fate(entry: ReturnType<typeof readEntry>, offset: number): Fate {
    const fate = this.#decide(entry, offset);
    if (fate !== 'keep') this.hasChanged = true;
    const markMs = fate === 'mark' ? this.#terms.nowMs : entry.cleanedAtMs;
    if (fate !== 'remove' && markMs > 0 && offset < this.#log.endOffset - 1)
      this.oldestMarkMs = this.oldestMarkMs === 0 ? markMs : Math.min(this.oldestMarkMs, markMs);
    return fate;
  }

  #decide({ key, isTombstone, cleanedAtMs }: ReturnType<typeof readEntry>, offset: number): Fate {
    if (key === null) return 'keep'; // C2
    if ((this.#keys.get(key) ?? offset) > offset) return 'remove';
    if (!isTombstone || offset >= this.#mappedTo) return 'keep';
    if (cleanedAtMs === 0) return 'mark';
    const isDue = cleanedAtMs + this.#terms.tombstoneRetentionMs <= this.#terms.nowMs;
    return isDue && offset < this.#log.endOffset - 1 ? 'remove' : 'keep';
  }
}

/** Writes what stays of the group into one new segment. False: the group was trimmed, or cleaning ends. */
async function rewrite(
  log: CompactedLog,
  group: readonly Segment[],
  terms: CompactionTerms,
  sieve: Sieve,
): Promise<boolean> {
  const first = group[0] as Segment;
  const last = group[group.length - 1] as Segment;
  const made = log.newSegment(first.base);
  const writer = new SegmentWriter(log.handles, made);
  const pieces = new Pieces(terms.nowMs, (piece) => writer.add(piece));
  try {
    for (const segment of group) {
      for await (const { bytes, at } of batchesOf(log.handles, segment, terms)) {
        const { head, spans, fates } = sieve.fates(bytes, at);
        if (head.gap) pieces.gap(head.baseOffset, head.count, head.appendTimeMs);
        else pieces.sift(bytes, at, head, spans, fates);
        if (writer.isFull) await writer.flush();
      }
    }
    pieces.end();
    const isWorthIt = (sieve.hasChanged || group.length > 1) && !terms.isStopped();
    if (isWorthIt) {
      await writer.flush();
      await log.handles.use(made.path, 'create', (file) => file.sync());
      await log.syncDirectory();
      made.fill({ ...writer.written, endOffset: last.endOffset });
      if (log.replace(group, made)) return true;
    }
    await log.unlink(made);
    return !isWorthIt && !terms.isStopped();
  } catch (error) {
    await log.unlink(made).catch(() => {});
    throw error;
  }
}

class SegmentWriter {
  readonly #handles: FileHandles;
  readonly #segment: Segment;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #position = 0;
  #bytes = 0;
  #firstTimeMs = 0;
  #lastTimeMs = 0;

  constructor(handles: FileHandles, segment: Segment) {
    this.#handles = handles;
    this.#segment = segment;
  }

  get isFull(): boolean {
    return this.#waitingBytes >= PIECE_BYTES;
  }

  get written() {
    return { bytes: this.#bytes, firstTimeMs: this.#firstTimeMs, lastTimeMs: this.#lastTimeMs };
  }

  add({ bytes, baseOffset, timeMs }: Piece): void {
    this.#segment.index.add(baseOffset, this.#bytes, timeMs);
    if (this.#bytes === 0) this.#firstTimeMs = timeMs;
    this.#lastTimeMs = timeMs;
    this.#bytes += bytes.length;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  async flush(): Promise<void> {
    if (this.#waiting.length === 0) return;
    const pieces = [Buffer.concat(this.#waiting)];
    const position = this.#position;
    this.#position += this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    await this.#handles.use(this.#segment.path, 'create', (file) => file.write(pieces, position));
  }
}

/** All batches of a segment, each checked. */
async function* batchesOf(
  handles: FileHandles,
  segment: Segment,
  terms: CompactionTerms,
): AsyncGenerator<Visit> {
  let offset = segment.base;
  for (let position = 0; position < segment.bytes; ) {
    await terms.pace();
    if (terms.isStopped() || segment.isGone) return;
    const bytes = await readPiece(handles, segment, position);
    let at = 0;
    while (at + BATCH_HEAD_BYTES <= bytes.length && at + looseHead(bytes, at).length <= bytes.length) {
      const head = looseHead(bytes, at);
      checkBatch(bytes, at, segment, { offset, position: position + at });
      yield { bytes, at };
      offset += head.count;
      at += head.length;
    }
    if (at === 0) throw segment.damaged(position, `no batch with offset ${offset}`);
    position += at;
  }
}

/** At least one whole batch, if the file is sound. */
async function readPiece(handles: FileHandles, segment: Segment, position: number): Promise<Buffer> {
  const read = (wish: number) =>
    handles.use(segment.path, 'existing', async (file) => {
      const bytes = Buffer.allocUnsafeSlow(Math.min(wish, segment.bytes - position));
      const filled = await file.read(bytes, position);
      if (filled < bytes.length) throw segment.damaged(position + filled, 'the file ends too early');
      return bytes;
    });
  const bytes = await read(PIECE_BYTES);
  const length = bytes.length < BATCH_HEAD_BYTES ? 0 : looseHead(bytes, 0).length;
  return length > bytes.length ? read(length) : bytes;
}
