// Rows of tables whose rows are asked for one by one (Table.view), encoded and outside of the collector's
// heap: those that changed since the last checkpoint, and those as disk has them, known-absent ones included.
// A row is encoded once, where it stays: a checkpoint writes it from there.
//   P1. Bytes that were handed out never change (packed-slabs.ts, S1).
//   P2. Rows go only in `turn`, never between a check for residence and the decision that relies on it, and
//       only those that disk has. The bound is exceeded by at most what is added between two turns, and by
//       what no checkpoint has written as far as that is more than half of it.
//   P3. While `isComplete`, a row that is not here is nowhere: nothing was ever let go.
//   P4. Dead bytes (rows replaced or deleted) are at most as many as live ones and SLACK_SLABS, beside those
//       that a checkpoint holds.
//   P5. What `freeze` froze stays as it was, whatever changes later, until `written`.
import assert from 'node:assert/strict';
import type { ByteReader } from './bytes.ts';
import type { RowRef, Table } from './contract.ts';
import { KeyHash } from './key-hash.ts';
import { type Frozen, FrozenCursor, type FrozenPart } from './packed-frozen.ts';
import { PackedGlance } from './packed-glance.ts';
import { PackedIndex } from './packed-index.ts';
import {
  ABSENT,
  ASKED,
  BORN,
  batchAt,
  beginOf,
  CLEAN,
  DEAD,
  flagsAt,
  hashAt,
  keyAt,
  keyFrom,
  keyLengthAt,
  offsetOf,
  PackedSlabs,
  placeOf,
  readerAt,
  SLAB_BYTES,
  type Slab,
  STALE,
  setFlagsAt,
  sizeAt,
} from './packed-slabs.ts';
import type { Layer } from './row-scan.ts';
import { SortedKeys } from './sorted-keys.ts';

export interface PackedOptions {
  readonly bytesMax: number;
  readonly slabBytes?: number;
  readonly hash?: KeyHash;
}

const SLACK_SLABS = 8;

export class PackedRows {
  /** That changes belong to from now on. */
  batch = 0;
  readonly #bytesMax: number;
  readonly #slabBytes: number;
  readonly #hash: KeyHash;
  readonly #index = new PackedIndex();
  readonly #slabs: PackedSlabs;
  readonly #glance: PackedGlance;
  #liveBytes = 0;
  #pinnedBytes = 0;
  #isComplete = false;
  /** What is looked for, so that a look takes no closure. */
  #key = '';
  /** What was found last: a decision mostly writes the row that it has just read. */
  #foundKey: string | null = null;
  #foundPlace = 0;
  /** Changes behind this are in no checkpoint yet: an offset in the slab with the ordinal. */
  #from = { ordinal: 0, at: 0 };
  #changedBytes = 0;
  /** Of them, what no checkpoint will write. */
  #staleBytes = 0;
  #hasDeletions = false;
  #frozen: Frozen | null = null;
  /** Of rows that changed, and of those that are frozen; null: nobody has walked them. */
  #keys: SortedKeys | null = null;
  #frozenKeys: SortedKeys | null = null;
  #isWalked = false;

  constructor({
    bytesMax,
    slabBytes = Math.min(SLAB_BYTES, bytesMax / 16),
    hash = new KeyHash(),
  }: PackedOptions) {
    this.#bytesMax = bytesMax;
    this.#slabBytes = slabBytes;
    this.#hash = hash;
    this.#slabs = new PackedSlabs(slabBytes);
    this.#glance = new PackedGlance({ hash, index: this.#index, slabs: this.#slabs });
  }

  get bytes(): number {
    return this.#slabs.bytes;
  }

  /** Of changes that the next checkpoint is to freeze; some have taken the place of others. */
  get changedBytes(): number {
    return this.#changedBytes;
  }

  /** What the checkpoint writes at most. */
  get frozenBytes(): number {
    return this.#frozen?.bytes ?? 0;
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** There is no row on disk that is not here (P3). */
  declareComplete(): void {
    this.#isComplete = true;
  }

  has(key: string): boolean {
    return this.#isComplete || this.find(key) !== 0;
  }

  /** Where the row is, for `read` and `batchOf` before anything changes; 0: nothing is known of it (P3). */
  find(key: string): number {
    if (key === this.#foundKey) return this.#foundPlace;
    this.#key = key;
    const place = this.#index.find(this.#hash.of(key), this.#isKeyAt);
    this.#foundKey = key;
    this.#foundPlace = place;
    return place;
  }

  /** These are looked at next. */
  expect(refs: readonly RowRef[]): void {
    this.#glance.at(refs);
  }

  /** undefined: there is no such row. */
  read(place: number): ByteReader | undefined {
    const slab = this.#slabs.of(place);
    const at = offsetOf(place);
    const flags = flagsAt(slab, at);
    if ((flags & ASKED) === 0) setFlagsAt(slab, at, flags | ASKED);
    return (flags & ABSENT) === 0 ? readerAt(slab, at) : undefined;
  }

  /** That wrote the row; 0: it was read from disk. */
  batchOf(place: number): number {
    const slab = this.#slabs.of(place);
    const at = offsetOf(place);
    if ((flagsAt(slab, at) & CLEAN) !== 0) return 0;
    return this.batch - (((this.batch >>> 0) - batchAt(slab, at)) >>> 0);
  }

  /** A change; undefined deletes the row. `isNew`, `undo`: as of RowStore. */
  put<V>(
    table: Table<V>,
    key: string,
    value: V | undefined,
    { isNew, undo }: { isNew: boolean; undo: (() => void)[] | null },
  ): void {
    const before = this.find(key);
    assert(
      !isNew || before === 0 || this.#isAbsentAt(before),
      `a row of ${table.name} is new, but it is there`,
    );
    const isBorn = before === 0 ? isNew || this.#isComplete : this.#isBornAt(before);
    this.#slabs.begin(key);
    if (value === undefined) this.#hasDeletions = true;
    else table.encode(value, this.#slabs.writer);
    const flags = (value === undefined ? ABSENT : 0) | (isBorn ? BORN : 0);
    const place = this.#slabs.end(this.#hash.of(key), flags, this.batch >>> 0);
    const slab = this.#slabs.of(place);
    slab.hasChanges = true;
    this.#changedBytes += sizeAt(slab, offsetOf(place));
    const wasChange = before !== 0 && this.#isChange(this.#slabs.of(before), offsetOf(before));
    this.#replace(key, before, place);
    if (wasChange) this.#setStale(before, true);
    else this.#keys?.add(key);
    undo?.push(() => {
      this.#replace(key, place, before);
      this.#setStale(place, true);
      if (wasChange) this.#setStale(before, false);
    });
  }

  /** As disk has it; null: it has no such row. Unless something is known of the row, which may be newer. */
  keep(key: string, value: Uint8Array | null): void {
    if (this.find(key) !== 0) return;
    const { writer } = this.#slabs;
    this.#slabs.begin(key);
    if (value !== null) writer.raw(value);
    const flags = CLEAN | (value === null ? ABSENT : 0);
    this.#replace(key, 0, this.#slabs.end(this.#hash.of(key), flags, 0));
  }

  /** The changes so far are what `frozen` goes through. */
  freeze(): void {
    assert(this.#frozen === null, 'one checkpoint at a time');
    const { newest } = this.#slabs;
    const parts = this.#changedParts();
    for (const { slab } of parts) {
      slab.hasChanges = false;
      slab.isPinned = true;
      this.#pinnedBytes += slab.bytes.length;
    }
    const bytes = this.#changedBytes - this.#staleBytes;
    this.#frozen = { parts, bytes, hasDeletions: this.#hasDeletions };
    if (newest !== undefined) this.#from = { ordinal: newest.ordinal, at: newest.end };
    this.#changedBytes = 0;
    this.#staleBytes = 0;
    this.#hasDeletions = false;
    this.#frozenKeys = this.#keys;
    // Who has walked lately will again.
    this.#keys = this.#isWalked ? new SortedKeys() : null;
    this.#isWalked = false;
  }

  frozen(): FrozenCursor {
    assert(this.#frozen !== null, 'frozen follows freeze');
    return new FrozenCursor(this.#frozen);
  }

  /** Disk has what was frozen. */
  written(): void {
    if (this.#frozen === null) return;
    const { parts, hasDeletions } = this.#frozen;
    if (hasDeletions) for (const part of parts) this.#forgetDeleted(part);
    for (const { slab } of parts) slab.isPinned = false;
    this.#pinnedBytes = 0;
    this.#frozen = null;
    this.#frozenKeys = null;
  }

  /** Lets go of what the bounds ask for, at most so many slabs: each takes about a millisecond. */
  turn(slabs = 1): void {
    for (let i = 0; i < slabs; i++) {
      const slab = this.#overfull();
      if (slab === undefined) return;
      this.#letGo(slab);
    }
  }

  /** What no checkpoint has written, for walks; the newest first. */
  layers(): Layer[] {
    this.#isWalked = true;
    this.#keys ??= this.#keysOf(this.#changedParts());
    if (this.#frozen === null) return [this.#layer(this.#keys)];
    this.#frozenKeys ??= this.#keysOf(this.#frozen.parts);
    return [this.#layer(this.#keys), this.#layer(this.#frozenKeys)];
  }

  #layer(keys: SortedKeys): Layer {
    return {
      cursor: (_table, { from, to, reverse }) =>
        reverse ? keys.descending(from, to) : keys.ascending(from, to),
      cell: (table, key) => {
        const place = this.find(key);
        if (place === 0) return undefined;
        const reader = this.#isAbsentAt(place) ? undefined : readerAt(this.#slabs.of(place), offsetOf(place));
        return { value: reader && (table.view as NonNullable<typeof table.view>)(reader) };
      },
    };
  }

  #keysOf(parts: Frozen['parts']): SortedKeys {
    const keys = new SortedKeys();
    for (const { slab, from, to } of parts) {
      for (let at = from; at < to; at += sizeAt(slab, at)) {
        if ((flagsAt(slab, at) & (CLEAN | STALE)) === 0) keys.add(keyAt(slab, at));
      }
    }
    return keys;
  }

  #forgetDeleted({ slab, from, to }: FrozenPart): void {
    for (let at = from; at < to; at += sizeAt(slab, at)) {
      const flags = flagsAt(slab, at);
      if ((flags & (ABSENT | CLEAN | DEAD)) !== ABSENT) continue;
      this.#index.remove(hashAt(slab, at), placeOf(slab, at));
      setFlagsAt(slab, at, flags | DEAD);
      this.#liveBytes -= sizeAt(slab, at);
      this.#foundKey = null;
    }
  }

  /** The slab that the bounds ask to let go of. */
  #overfull(): Slab | undefined {
    const bytes = this.#slabs.bytes - this.#pinnedBytes;
    const isBeyond = this.#slabs.bytes > this.#bytesMax && bytes - this.#changedBytes > this.#bytesMax / 2;
    const isWasted = bytes > 2 * this.#liveBytes + SLACK_SLABS * this.#slabBytes;
    if (!isBeyond && !isWasted) return undefined;
    const slab = this.#slabs.order.find(({ isPinned }) => !isPinned);
    return slab === this.#slabs.newest ? undefined : slab;
  }

  /**
   * Its changes are spared; of its other live rows all if there is room, else only those asked for (a clock).
   */
  #letGo(slab: Slab): void {
    this.#foundKey = null;
    const keptBytes = this.#liveBytes + this.#pinnedBytes;
    const hasRoom = this.#liveBytes <= this.#bytesMax * 0.75 && keptBytes <= this.#bytesMax * 0.9;
    let sparable = hasRoom ? slab.end : slab.end / 2;
    for (let at = beginOf(slab); at < slab.end; ) {
      const place = placeOf(slab, at);
      const hash = hashAt(slab, at);
      const flags = flagsAt(slab, at);
      const size = sizeAt(slab, at);
      const isChange = this.#isChange(slab, at);
      const isSpared = isChange || ((hasRoom || (flags & ASKED) !== 0) && sparable >= size);
      if ((flags & DEAD) !== 0) {
        if (isChange) {
          this.#changedBytes -= size;
          this.#staleBytes -= size;
        }
      } else if (isSpared) {
        const moved = this.#slabs.copy(slab, at, isChange ? flags : (flags & ~ASKED) | CLEAN);
        if (isChange) this.#slabs.of(moved).hasChanges = true;
        else sparable -= size;
        this.#index.move(hash, place, moved);
      } else {
        this.#index.remove(hash, place);
        this.#liveBytes -= size;
        if ((flags & ABSENT) === 0) this.#isComplete = false;
      }
      at += size;
    }
    this.#slabs.release(slab);
  }

  /** Where changes are that are not frozen. */
  #changedParts(): FrozenPart[] {
    return this.#slabs.order
      .filter(({ hasChanges }) => hasChanges)
      .map((slab) => ({ slab, from: this.#changesFrom(slab), to: slab.end }));
  }

  /** Where the changes of a slab begin that are not frozen. */
  #changesFrom(slab: Slab): number {
    return Math.max(beginOf(slab), slab.ordinal === this.#from.ordinal ? this.#from.at : 0);
  }

  /** A change that is not frozen. */
  #isChange(slab: Slab, at: number): boolean {
    const { ordinal, at: from } = this.#from;
    if (slab.ordinal < ordinal || (slab.ordinal === ordinal && at < from)) return false;
    return (flagsAt(slab, at) & CLEAN) === 0;
  }

  #isAbsentAt(place: number): boolean {
    return (flagsAt(this.#slabs.of(place), offsetOf(place)) & ABSENT) !== 0;
  }

  /** Disk has no such row, nor will it when what is frozen is written. */
  #isBornAt(place: number): boolean {
    const slab = this.#slabs.of(place);
    const at = offsetOf(place);
    return (flagsAt(slab, at) & (this.#isChange(slab, at) ? BORN : ABSENT)) !== 0;
  }

  /** In the index; 0 for none. */
  #replace(key: string, before: number, place: number): void {
    const hash = this.#hash.of(key);
    if (before === 0) this.#index.add(hash, place);
    else if (place === 0) this.#index.remove(hash, before);
    else this.#index.move(hash, before, place);
    this.#liveBytes += this.#sizeOf(place) - this.#sizeOf(before);
    if (before !== 0) this.#setFlag(before, DEAD, true);
    if (place !== 0) this.#setFlag(place, DEAD, false);
    this.#foundKey = key;
    this.#foundPlace = place;
  }

  #sizeOf(place: number): number {
    return place === 0 ? 0 : sizeAt(this.#slabs.of(place), offsetOf(place));
  }

  #setStale(place: number, isStale: boolean): void {
    this.#setFlag(place, STALE, isStale);
    this.#staleBytes += isStale ? this.#sizeOf(place) : -this.#sizeOf(place);
  }

  #setFlag(place: number, flag: number, isSet: boolean): void {
    const slab = this.#slabs.of(place);
    const flags = flagsAt(slab, offsetOf(place));
    setFlagsAt(slab, offsetOf(place), isSet ? flags | flag : flags & ~flag);
  }

  readonly #isKeyAt = (place: number): boolean => {
    const slab = this.#slabs.of(place);
    const at = offsetOf(place);
    const key = this.#key;
    if (keyLengthAt(slab, at) !== key.length) return false;
    const { bytes } = slab;
    // From the back: keys of a table begin alike.
    for (let i = key.length - 1, from = keyFrom(at); i >= 0; i--) {
      if (bytes[from + i] !== key.charCodeAt(i)) return false;
    }
    return true;
  };
}
