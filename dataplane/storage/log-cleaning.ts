// How far a log was cleaned by key, whether cleaning is due again, and which of its segments may be cleaned.
//   N1. The segment that is being filled is never cleaned. It is ended early, once it has ROLL_BYTES or
//       ROLL_AGE_MS, if cleaning is due then: a small log would never be cleaned otherwise.
//   N2. Due is when what was not cleaned yet is at least as much as what was, or a tombstone's time is up.
import type { CompactionTerms, LogId } from './contract.ts';
import { type CompactedLog, cleanLog } from './log-compaction.ts';
import type { LogHost, LogLength } from './log-host.ts';
import { Segment } from './log-segment.ts';

const ROLL_BYTES = 1024 * 1024;
const ROLL_AGE_MS = 3_600_000;

/** A segment that a cleaning wrote, and what it covers. */
export interface CleanedRange {
  readonly base: number;
  readonly generation: number;
  readonly endOffset: number;
}

interface Owner {
  readonly id: LogId;
  readonly endOffset: number;
}

export class Cleaning implements CompactedLog {
  readonly #host: LogHost;
  readonly #owner: Owner;
  readonly #segments: readonly Segment[];
  readonly #replace: (old: readonly Segment[], made: Segment) => boolean;
  #generation = 0;
  cleanedTo = 0;
  tombstonesFromMs = 0;

  constructor(
    host: LogHost,
    owner: Owner,
    segments: readonly Segment[],
    replace: (old: readonly Segment[], made: Segment) => boolean,
  ) {
    this.#host = host;
    this.#owner = owner;
    this.#segments = segments;
    this.#replace = replace;
  }

  get handles() {
    return this.#host.handles;
  }

  get segmentBytes(): number {
    return this.#host.segmentBytes;
  }

  get endOffset(): number {
    return this.#owner.endOffset;
  }

  isDue(terms: CompactionTerms): boolean {
    const { nowMs, tombstoneRetentionMs } = terms;
    if (this.tombstonesFromMs > 0 && this.tombstonesFromMs + tombstoneRetentionMs <= nowMs) return true;
    let clean = 0;
    let dirty = 0;
    for (const segment of this.eligible(terms)) {
      if (segment.endOffset <= this.cleanedTo) clean += segment.bytes;
      else dirty += segment.bytes;
    }
    if (dirty > 0 && dirty >= clean) return true;
    this.#rollIfWorthIt(terms, clean - dirty);
    return false;
  }

  /** N1. It is cleaned after the next checkpoint. */
  #rollIfWorthIt({ nowMs, untilMs }: CompactionTerms, missing: number): void {
    const last = this.#segments[this.#segments.length - 1];
    if (last === undefined || last.isSealed || last.bytes < Math.max(1, missing)) return;
    const isOld = (last.firstTimeMs ?? nowMs) <= nowMs - ROLL_AGE_MS;
    // A record alone has nothing to be cleaned of, and young ones wait anyway.
    const isDone = last.endOffset - last.base > 1 && (last.firstTimeMs ?? nowMs) <= untilMs;
    if (isDone && (isOld || last.bytes >= ROLL_BYTES)) last.isSealed = true;
  }

  eligible({ limit, untilMs }: CompactionTerms): Segment[] {
    const found: Segment[] = [];
    for (const [i, segment] of this.#segments.entries()) {
      const next = this.#segments[i + 1];
      const isFilled = next !== undefined || segment.isSealed;
      const isSynced = segment.synced === segment.bytes && segment.endOffset <= limit;
      // Of a segment found at start only the first time is known; the next one's is an upper bound.
      const lastTimeMs = segment.lastTimeMs ?? next?.firstTimeMs ?? Number.POSITIVE_INFINITY;
      if (!isFilled || !isSynced || lastTimeMs > untilMs) break;
      found.push(segment);
    }
    return found;
  }

  run(terms: CompactionTerms): Promise<boolean> {
    return cleanLog(this, terms);
  }

  newSegment(base: number): Segment {
    this.#generation++;
    return new Segment(
      this.#host.segmentPath(this.#owner.id, base, this.#generation),
      base,
      this.#generation,
    );
  }

  replace(old: readonly Segment[], made: Segment): boolean {
    return this.#replace(old, made);
  }

  syncDirectory(): Promise<void> {
    return this.#host.syncNames(this.#owner.id);
  }

  async unlink(segment: Segment): Promise<void> {
    await this.#host.handles.close(segment.path);
    await this.#host.unlink(segment.path);
  }

  /** For the checkpoint: nothing, as long as the log was never cleaned. */
  capture(): Pick<LogLength, 'cleanedTo' | 'tombstonesFromMs' | 'rewritten'> {
    const rewritten = this.#segments
      .filter(({ generation }) => generation > 0)
      .map(({ base, generation, endOffset }) => ({ base, generation, endOffset }));
    if (rewritten.length === 0 && this.cleanedTo === 0) return {};
    return { cleanedTo: this.cleanedTo, tombstonesFromMs: this.tombstonesFromMs, rewritten };
  }

  restore({ cleanedTo = 0, tombstonesFromMs = 0, rewritten = [] }: LogLength): void {
    this.cleanedTo = cleanedTo;
    this.tombstonesFromMs = tombstonesFromMs;
    for (const { generation } of rewritten) this.#generation = Math.max(this.#generation, generation);
  }
}
