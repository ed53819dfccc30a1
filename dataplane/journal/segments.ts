// The segment files of an embedded journal: those in use, the prepared ones, and what becomes of the old.
//
//   G1. A prepared file bears its final name, is zeroed (or recycled with a blank head) and synced, and so
//       is its directory: taking it into use costs nothing. Its head is written together with its first
//       entry.
//   G2. Two are kept: the next one, and a reserve for a full disk. Missing space shows as `full` and is
//       asked for again about every second; any other failure is fatal, because the disk cannot be trusted.
//       History is given up for space: only what recovery needs can keep a journal full.
//   G3. Segments go oldest first, each durably before the next, so that no crash leaves a gap; and not
//       while they are read.
import { HEAD_BYTES } from './codec.ts';
import type { JournalFile, JournalFiles } from './files.ts';

export interface Segment {
  readonly id: number;
  readonly path: string;
  readonly bytes: number;
  readonly firstSeq: number;
  /** Time of the last entry before it. */
  readonly previousTimeMs: number;
  /** Iterations that have it open. */
  readers: number;
}

export interface Spare {
  readonly id: number;
  readonly path: string;
  bytes: number;
  readonly file: JournalFile;
}

export interface SegmentOptions {
  readonly dir: string;
  readonly segmentBytes: number;
  readonly historyBytes: number;
  readonly historyMs: number;
  readonly nowMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  readonly onFull: (full: boolean) => void;
  readonly onFatal: (error: unknown) => void;
}

const SPARES = 2;
/** Spares from recycled files: about what one checkpoint sets free, so that next to no file is zeroed. */
const POOL = 8;
/** Segments' worth of space that is left to others: the checkpoint that frees the journal needs some, too. */
const HEADROOM = 3;
const RETRY_MS = 1000;
const ZERO_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(ZERO_BYTES);

export const isSegmentName = (name: string): boolean => /^\d{10}\.segment$/.test(name);
export const segmentPath = (dir: string, id: number): string =>
  `${dir}/${String(id).padStart(10, '0')}.segment`;

export async function zero(file: JournalFile, { from, to }: { from: number; to: number }): Promise<void> {
  for (let at = from; at < to; at += ZERO_BYTES) {
    await file.write([ZEROS.subarray(0, Math.min(ZERO_BYTES, to - at))], at);
  }
}

export class Segments {
  readonly #files: JournalFiles;
  readonly #options: SegmentOptions;
  /** In use, oldest first. */
  readonly #used: Segment[];
  readonly #spares: Spare[];
  #trimmedTo = 0;
  #full = false;
  #triedMs = 0;
  #closed = false;
  #isWanted = false;
  #running: Promise<void> | undefined;

  constructor(files: JournalFiles, found: { segments: Segment[]; spares: Spare[] }, options: SegmentOptions) {
    this.#files = files;
    this.#options = options;
    this.#used = found.segments;
    this.#spares = found.spares;
  }

  get used(): readonly Segment[] {
    return this.#used;
  }

  /** The segment that holds `seq`, if it is retained. */
  find(seq: number): Segment | undefined {
    return this.#used.findLast(({ firstSeq }) => firstSeq <= seq);
  }

  /** First sequence behind the segment; Infinity for the one that is being filled. */
  endSeq(segment: Segment): number {
    return this.#used[this.#used.indexOf(segment) + 1]?.firstSeq ?? Number.POSITIVE_INFINITY;
  }

  /** Takes the next prepared file into use, with room for `bytes` behind its head; undefined: disk full. */
  async advance(at: { firstSeq: number; previousTimeMs: number; bytes: number }): Promise<Spare | undefined> {
    while (this.#spares.length === 0) {
      if (this.#closed || (this.#full && !this.#isRetryDue())) return undefined;
      await this.maintain();
    }
    const next = this.#spares[0];
    if (next === undefined || !(await this.#grow(next, HEAD_BYTES + at.bytes))) return undefined;
    this.#spares.shift();
    const { firstSeq, previousTimeMs } = at;
    this.#used.push({
      id: next.id,
      path: next.path,
      bytes: next.bytes,
      firstSeq,
      previousTimeMs,
      readers: 0,
    });
    this.poke();
    return next;
  }

  trim(seq: number): Promise<void> {
    this.#trimmedTo = Math.max(this.#trimmedTo, seq);
    return this.maintain();
  }

  /** Sees to spares, retries and the history window if any of them is due. */
  poke(): void {
    const isDue = this.#full
      ? this.#isRetryDue()
      : this.#spares.length < SPARES || this.#expired() !== undefined;
    if (isDue) void this.maintain();
  }

  /** Brings spares and history to what they should be. Never rejects. */
  maintain(): Promise<void> {
    this.#isWanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves when no file is touched any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
    for (const { file } of this.#spares.splice(0)) await file.close();
  }

  async #run(): Promise<void> {
    try {
      while (this.#isWanted && !this.#closed) {
        this.#isWanted = false;
        await this.#maintain();
      }
    } catch (error) {
      this.#closed = true;
      this.#options.onFatal(error);
    }
  }

  async #maintain(): Promise<void> {
    let hasSpace = true;
    while (hasSpace && !this.#closed) {
      const old = this.#expired();
      if (old === undefined && this.#spares.length >= SPARES) break;
      hasSpace = await (old ? this.#retire(old) : this.#prepare());
      if (hasSpace || this.#spares.length >= SPARES) continue;
      const history = this.#trimmed();
      if (history !== undefined) hasSpace = await this.#retire(history);
    }
    if (!this.#closed) this.#setFull(this.#spares.length < SPARES);
  }

  /** Makes a spare out of the oldest segment, or removes it; false: not even for that there is space. */
  async #retire(old: Segment): Promise<boolean> {
    const isFit = old.bytes === this.#options.segmentBytes && this.#spares.length < POOL;
    this.#used.shift();
    try {
      await (isFit ? this.#files.rename(old.path, this.#temporary) : this.#files.unlink(old.path));
    } catch (error) {
      this.#used.unshift(old);
      if (isNoSpace(error)) return false;
      throw error;
    }
    // Else a crash could bring the old name back, with younger ones gone or with a blank head.
    await this.#files.syncDirectory(this.#options.dir);
    return !isFit || this.#publish('write', HEAD_BYTES);
  }

  /** Makes a spare out of new space; false: there is none. */
  async #prepare(): Promise<boolean> {
    const { dir, segmentBytes } = this.#options;
    if ((await this.#files.freeBytes(dir)) < segmentBytes * (1 + HEADROOM)) return false;
    return this.#publish('create', segmentBytes);
  }

  /** Blanks the start of the temporary file and gives it the next id (G1); false: no space. */
  async #publish(mode: 'write' | 'create', blankBytes: number): Promise<boolean> {
    const { dir, segmentBytes } = this.#options;
    const id = (this.#spares.at(-1)?.id ?? this.#used.at(-1)?.id ?? 0) + 1;
    const path = segmentPath(dir, id);
    let file: JournalFile | undefined;
    try {
      file = await this.#files.open(this.#temporary, mode);
      await zero(file, { from: 0, to: blankBytes });
      await file.sync();
      await this.#files.rename(this.#temporary, path);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      await file?.close();
      if (file) await this.#files.unlink(this.#temporary);
      return false;
    }
    await this.#files.syncDirectory(dir);
    this.#spares.push({ id, path, bytes: segmentBytes, file });
    return true;
  }

  get #temporary(): string {
    return `${this.#options.dir}/next.tmp`;
  }

  async #grow(spare: Spare, bytes: number): Promise<boolean> {
    if (bytes <= spare.bytes) return true;
    try {
      await zero(spare.file, { from: spare.bytes, to: bytes });
      await spare.file.sync();
      spare.bytes = bytes;
      return true;
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      this.#setFull(true);
      return false;
    }
  }

  /** The oldest segment, if recovery does not need it and it is not being read. */
  #trimmed(): Segment | undefined {
    const [oldest, second] = this.#used;
    if (oldest === undefined || second === undefined || oldest.readers > 0) return undefined;
    return second.firstSeq - 1 > this.#trimmedTo ? undefined : oldest;
  }

  /** The same, if it is outside of the history window, too. */
  #expired(): Segment | undefined {
    const { historyBytes, historyMs, nowMs } = this.#options;
    const oldest = this.#trimmed();
    if (oldest === undefined) return undefined;
    if ((this.#used[1]?.previousTimeMs ?? 0) < nowMs() - historyMs) return oldest;
    let keptBytes = 0;
    for (const [index, segment] of this.#used.entries()) {
      const next = this.#used[index + 1];
      if (next === undefined || next.firstSeq - 1 > this.#trimmedTo) break;
      keptBytes += segment.bytes;
    }
    return keptBytes > historyBytes ? oldest : undefined;
  }

  #setFull(full: boolean): void {
    if (full) this.#triedMs = this.#options.nowMs();
    if (this.#full === full) return;
    this.#full = full;
    this.#options.log(full ? 'journal.full' : 'journal.ready', { spares: this.#spares.length });
    this.#options.onFull(full);
  }

  #isRetryDue(): boolean {
    return Math.abs(this.#options.nowMs() - this.#triedMs) >= RETRY_MS;
  }
}

const isNoSpace = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
