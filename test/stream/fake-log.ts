// Partition logs as arrays. What a checkpoint has recorded survives a restart, the rest is replayed.
import { FlowError } from '@flowmesh/protocol';
import type { Chunk, LogId, Logs, PartitionLog } from '../../dataplane/storage/contract.ts';

interface Batch {
  readonly bytes: Buffer;
  readonly base: number;
  readonly count: number;
  readonly timeMs: number;
}

export class FakeLog implements PartitionLog {
  readonly id: LogId;
  batches: Batch[] = [];
  startOffset = 0;
  readonly #owner: FakeLogs;

  constructor(id: LogId, owner: FakeLogs) {
    this.id = id;
    this.#owner = owner;
  }

  get endOffset(): number {
    const last = this.batches.at(-1);
    return last === undefined ? this.startOffset : last.base + last.count;
  }

  get byteLength(): number {
    return this.batches.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  append(bytes: Buffer, count: number, timeMs: number): void {
    const base = bytes.readUInt32LE(4) + bytes.readUInt32LE(8) * 2 ** 32;
    if (base !== this.endOffset)
      throw new Error(`batch of offset ${base}, but the log ends at ${this.endOffset}`);
    if (bytes.readUInt32LE(32) !== count) throw new Error('count does not match');
    this.batches.push({ bytes, base, count, timeMs });
  }

  unappend(): void {
    if (this.batches.pop() === undefined) throw new Error('nothing to take back');
  }

  resident(offset: number, maxBytes: number): Chunk | undefined {
    return this.#owner.isCold ? undefined : this.#chunk(offset, maxBytes);
  }

  async load(offset: number, maxBytes: number): Promise<Chunk> {
    this.#owner.loads++;
    await new Promise((resolve) => setImmediate(resolve));
    const chunk = this.#chunk(offset, maxBytes);
    if (chunk === undefined) throw new FlowError('OFFSET_OUT_OF_RANGE', `no offset ${offset}`);
    return chunk;
  }

  async offsetAt(timeMs: number): Promise<number> {
    return this.batches.find((batch) => batch.timeMs >= timeMs)?.base ?? this.endOffset;
  }

  async timeAt(offset: number): Promise<number> {
    return this.batches.find(({ base, count }) => base + count > offset)?.timeMs ?? 0;
  }

  trimTo(offset: number): void {
    while (this.batches.length > 1 && (this.batches[1]?.base ?? 0) <= offset) this.batches.shift();
    this.startOffset = this.batches[0]?.base ?? this.startOffset;
  }

  /** Cleaning is tested on real logs. */
  isCompactionDue(): boolean {
    return false;
  }

  async compact(): Promise<boolean> {
    return false;
  }

  /** Each batch counts as a segment; the last one is never sealed. */
  expiredOffset(limits: { olderThanMs?: number; bytesMax?: number }): number {
    let bytes = this.byteLength;
    let offset = this.startOffset;
    for (const batch of this.batches.slice(0, -1)) {
      const isOld = batch.timeMs < (limits.olderThanMs ?? 0);
      if (!isOld && bytes <= (limits.bytesMax ?? Number.POSITIVE_INFINITY)) break;
      bytes -= batch.bytes.length;
      offset = batch.base + batch.count;
    }
    return offset;
  }

  #chunk(offset: number, maxBytes: number): Chunk | undefined {
    const from = this.batches.findIndex(({ base, count }) => base <= offset && offset < base + count);
    const first = this.batches[from];
    if (first === undefined) return undefined;
    const taken = [first];
    let size = first.bytes.length;
    for (const next of this.batches.slice(from + 1)) {
      size += next.bytes.length;
      if (size > maxBytes) break;
      taken.push(next);
    }
    const last = taken.at(-1) ?? first;
    const bytes = Buffer.concat(taken.map((each) => each.bytes));
    return { bytes, firstOffset: first.base, nextOffset: last.base + last.count };
  }
}

export class FakeLogs implements Logs {
  readonly logs = new Map<LogId, FakeLog>();
  /** Nothing is in memory: all reads are loads. */
  isCold = false;
  loads = 0;
  #saved = new Map<LogId, { batches: Batch[]; startOffset: number }>();

  open(id: LogId): FakeLog {
    let log = this.logs.get(id);
    if (log === undefined) {
      log = new FakeLog(id, this);
      this.logs.set(id, log);
    }
    return log;
  }

  drop(id: LogId): void {
    this.logs.delete(id);
  }

  checkpoint(): void {
    this.#saved = new Map(
      [...this.logs].map(([id, { batches, startOffset }]) => [id, { batches: [...batches], startOffset }]),
    );
  }

  /** What the next process finds. */
  restart(): FakeLogs {
    const next = new FakeLogs();
    next.#saved = this.#saved;
    for (const [id, { batches, startOffset }] of this.#saved) {
      Object.assign(next.open(id), { batches: [...batches], startOffset });
    }
    return next;
  }
}
