// Which waiting jobs come next, of those without a limit key: ready exceptions and what is at the cursor of
// the log.
//   X1. Ready exceptions (priorities, retries, unblocked) come before the cursor, higher priorities first.
//   X2. With aging whoever leads by priority and age comes first (aging.ts), wherever it waits.
import { ENTRY_INDEXED } from '@flowmesh/protocol';
import type { ViewContext } from '../shard/state-machine.ts';
import { readU53be } from '../storage/keys.ts';
import { AgedLevels, scoreOf } from './aging.ts';
import type { QueueCell } from './cell.ts';
import type { Pick } from './grants.ts';
import { limitKeyOf, readyPlace } from './limits.ts';
import type { LineBytes } from './line-bytes.ts';
import { jobKeysOf, type Source, spansOf } from './sources.ts';
import { freshMeta, metaBytes } from './tables.ts';

export const GRANT_BYTES_MAX = 1024 * 1024;

export interface Taken {
  readonly picks: Pick[];
  readonly count: number;
  /** Of the log, behind what was taken. */
  readonly cursor: number;
}

export class NextJobs {
  readonly #cell: QueueCell;
  readonly #context: ViewContext;
  readonly #bytes: LineBytes;
  #levels: AgedLevels | null = null;

  constructor(cell: QueueCell, context: ViewContext, bytes: LineBytes) {
    this.#cell = cell;
    this.#context = context;
    this.#bytes = bytes;
  }

  /** It holds what takes a while to find again. */
  get isWorthKeeping(): boolean {
    return this.#levels !== null;
  }

  close(): void {
    this.#levels?.close();
    this.#levels = null;
  }

  take(max: number, bytesMax = GRANT_BYTES_MAX): Taken {
    const { spec, state } = this.#cell;
    if (spec.priorityAgingMs !== undefined) return this.#takeAged(spec.priorityAgingMs, max, bytesMax);
    const picks: Pick[] = [];
    const fromReady = this.#takeReady(max, picks, bytesMax);
    if (fromReady === 'blocked' || picks.length >= max)
      return { picks, count: picks.length, cursor: state.cursor };
    return this.#takeAtCursor(max, picks);
  }

  #takeAged(agingMs: number, max: number, bytesMax: number): Taken {
    const cell = this.#cell;
    const picks: Pick[] = [];
    let { cursor, plain, ready: indexed } = cell.state;
    let [count, bytes] = [0, 0];
    if (this.#levels?.isOutdated) this.close();
    this.#levels ??= new AgedLevels(this.#context, cell);
    this.#levels.begin();
    while (count < max && bytes < bytesMax) {
      const best = indexed > 0 ? this.#levels.best(agingMs) : null;
      if (best === 'wait') break;
      while (cell.holes.has(cursor)) cursor++;
      const source = plain > 0 ? this.#bytes.at(cursor) : undefined;
      if (source === null) break;
      if (
        best !== null &&
        (source === undefined || best.score >= scoreOf(agingMs, 0, source.head.appendTimeMs))
      ) {
        const { offset, meta } = best;
        const ready = this.#bytes.at(offset);
        if (ready === null) break;
        picks.push({ source: ready, index: offset - ready.head.baseOffset, count: 1, meta, from: 'ready' });
        this.#levels.take(best);
        indexed--;
        count++;
        bytes += ready.bytes.length / ready.head.count + metaBytes(meta);
        continue;
      }
      if (source === undefined) break;
      const taken = this.#pickAtCursor(source, cursor, max - count, picks);
      if (taken === null) break;
      count += taken.count;
      plain -= taken.count;
      bytes += (source.bytes.length * taken.count) / source.head.count;
      cursor = taken.cursor;
    }
    return { picks, count, cursor };
  }

  /**
   * Takes ready exceptions; `blocked`: more are ready, but not in memory yet, and nothing may overtake them
   * (X1).
   */
  #takeReady(max: number, picks: Pick[], bytesMax: number): 'done' | 'blocked' {
    const cell = this.#cell;
    if (cell.state.ready === 0) return 'done';
    let bytes = 0;
    for (const { key, value: meta } of cell.ready.take(max)) {
      const offset = readU53be(key, key.length - 7);
      const source = this.#bytes.at(offset);
      if (source === null) return 'blocked';
      picks.push({ source, index: offset - source.head.baseOffset, count: 1, meta, from: 'ready' });
      bytes += source.bytes.length / source.head.count + metaBytes(meta);
      if (bytes > bytesMax) return 'blocked';
    }
    if (cell.ready.isStale()) {
      this.#bytes.load(() => cell.ready.refill());
      return 'blocked';
    }
    return 'done';
  }

  #takeAtCursor(max: number, picks: Pick[]): Taken {
    const cell = this.#cell;
    let { cursor } = cell.state;
    let count = picks.length;
    let left = cell.state.plain;
    let bytes = 0;
    while (left > 0 && count < max && bytes < GRANT_BYTES_MAX) {
      while (cell.holes.has(cursor)) cursor++;
      const source = this.#bytes.at(cursor);
      if (source === null) break;
      const taken = this.#pickAtCursor(source, cursor, max - count, picks);
      if (taken === null) break;
      count += taken.count;
      left -= taken.count;
      bytes += (source.bytes.length * taken.count) / source.head.count;
      cursor = taken.cursor;
    }
    return { picks, count, cursor };
  }

  /** Jobs of the batch that the cursor stands in; null: the next one goes to its limit key first. */
  #pickAtCursor(
    source: Source,
    cursor: number,
    max: number,
    picks: Pick[],
  ): { count: number; cursor: number } | null {
    const { head } = source;
    const index = cursor - head.baseOffset;
    if (head.plain) {
      const count = this.#cell.untilHole(cursor, Math.min(max, head.count - index));
      picks.push({ source, index, count, meta: null, from: 'cursor' });
      return { count, cursor: cursor + count };
    }
    const { count, end } = this.#pickEntries(source, index, max, picks);
    return end === index ? null : { count, cursor: head.baseOffset + end };
  }

  /** Picks up to `max` unindexed entries from `index` on; `end` is behind the last one looked at. */
  #pickEntries(source: Source, index: number, max: number, picks: Pick[]): { count: number; end: number } {
    const spans = spansOf(source);
    let taken = 0;
    let i = index;
    for (; i < spans.length && taken < max; i++) {
      const span = spans[i];
      if (span === undefined || (source.bytes[span.flagsAt] ?? 0) & ENTRY_INDEXED) continue;
      if (this.#cell.holes.has(source.head.baseOffset + i)) continue;
      const keys = jobKeysOf(source.bytes, span);
      const last = picks.at(-1);
      if (limitKeyOf(keys) !== '') {
        const meta = { ...freshMeta(this.#cell.state.generation, source.head.appendTimeMs), ...keys };
        // It goes to its limit key first.
        if (readyPlace(this.#cell.spec, meta) === 'keyed') break;
        taken++;
        picks.push({ source, index: i, count: 1, meta, from: 'cursor' });
        continue;
      }
      taken++;
      if (last !== undefined && last.source === source && last.meta === null && last.index + last.count === i)
        last.count++;
      else picks.push({ source, index: i, count: 1, meta: null, from: 'cursor' });
    }
    return { count: taken, end: i };
  }
}
