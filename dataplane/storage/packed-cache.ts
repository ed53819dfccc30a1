// Rows as disk has them, known-absent ones included, encoded and outside of the collector's heap: a million
// small rows cost what their bytes cost. For tables whose rows are asked for one by one (Table.view).
//   P1. Slabs are filled from front to back and let go as a whole: bytes that were handed out never change.
//   P2. Rows go only in `turn`, never between a check for residence and the decision that relies on it. The
//       bound is exceeded by at most what is added between two turns.
//   P3. While `isComplete`, a row that is not here is nowhere: nothing was ever let go.
//   P4. Dead bytes (rows replaced or deleted) are at most as many as live ones and SLACK_SLABS.
//
//   entry = hash(u32) keyLength(u16) flags(u16) valueLength(u32) key value      aligned to 8
import { ByteReader } from './bytes.ts';
import { KeyHash } from './key-hash.ts';
import { PackedIndex } from './packed-index.ts';

export interface PackedOptions {
  readonly bytesMax: number;
  readonly slabBytes?: number;
  readonly hash?: KeyHash;
}

const SLAB_BYTES = 1024 * 1024;
const SLACK_SLABS = 8;
const HEAD_BYTES = 12;
const UNIT_SHIFT = 3;
/** Of a place: the rest of its 32 bits is the slab. */
const OFFSET_BITS = 17;
const OFFSET_MASK = 2 ** OFFSET_BITS - 1;
const SLABS_MAX = 2 ** (32 - OFFSET_BITS);
const IS_ABSENT = 1;
/** Asked for since it was added or spared last. */
const IS_ASKED = 2;

interface Slab {
  readonly number: number;
  readonly bytes: Buffer;
  end: number;
}

export class PackedCache {
  readonly #bytesMax: number;
  readonly #slabBytes: number;
  readonly #hash: KeyHash;
  readonly #index = new PackedIndex();
  /** By number; the numbers of those in use follow one another, modulo SLABS_MAX. */
  readonly #slabs: (Slab | undefined)[] = [];
  #oldest = 0;
  #newest: Slab | undefined;
  #bytes = 0;
  #liveBytes = 0;
  #isComplete = false;
  /** What is looked for, so that a look takes no closure. */
  #key = '';

  constructor({
    bytesMax,
    slabBytes = Math.min(SLAB_BYTES, bytesMax / 16),
    hash = new KeyHash(),
  }: PackedOptions) {
    this.#bytesMax = bytesMax;
    this.#slabBytes = Math.floor(slabBytes);
    this.#hash = hash;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** There is no row on disk that is not here (P3). */
  declareComplete(): void {
    this.#isComplete = true;
  }

  has(key: string): boolean {
    return this.#isComplete || this.#find(key, this.#hash.of(key)) !== 0;
  }

  /** Reads the value; undefined: there is no such row. Only for keys that it `has`. */
  get(key: string): ByteReader | undefined {
    const place = this.#find(key, this.#hash.of(key));
    if (place === 0) return undefined;
    const { bytes } = this.#slabOf(place);
    const at = offsetOf(place);
    const flags = bytes[at + 6] as number;
    bytes[at + 6] = flags | IS_ASKED;
    if (flags & IS_ABSENT) return undefined;
    const from = at + HEAD_BYTES + bytes.readUInt16LE(at + 4);
    return new ByteReader(bytes, from, from + bytes.readUInt32LE(at + 8));
  }

  /** It is known that there is no such row. */
  isAbsent(key: string): boolean {
    const place = this.#find(key, this.#hash.of(key));
    if (place === 0) return this.#isComplete;
    return ((this.#slabOf(place).bytes[offsetOf(place) + 6] as number) & IS_ABSENT) !== 0;
  }

  /** The first `length` bytes of `value`; null: there is no such row. */
  set(key: string, value: Buffer | null, length = value === null ? 0 : value.length): void {
    const hash = this.#hash.of(key);
    const before = this.#find(key, hash);
    if (before !== 0) this.#liveBytes -= this.#sizeAt(before);
    const place = this.#append(HEAD_BYTES + key.length + length);
    const { bytes } = this.#slabOf(place);
    const at = offsetOf(place);
    bytes.writeUInt32LE(hash, at);
    bytes.writeUInt16LE(key.length, at + 4);
    bytes.writeUInt16LE(value === null ? IS_ABSENT : 0, at + 6);
    bytes.writeUInt32LE(length, at + 8);
    bytes.write(key, at + HEAD_BYTES, 'latin1');
    value?.copy(bytes, at + HEAD_BYTES + key.length, 0, length);
    this.#liveBytes += this.#sizeAt(place);
    if (before === 0) this.#index.add(hash, place);
    else this.#index.move(hash, before, place);
  }

  /** The row is deleted: nothing is known of it from now on, or that it is nowhere (P3). */
  delete(key: string): void {
    const hash = this.#hash.of(key);
    const place = this.#find(key, hash);
    if (place === 0) return;
    this.#liveBytes -= this.#sizeAt(place);
    this.#index.remove(hash, place);
  }

  /** Lets go of what the bounds ask for, at most so many slabs: each takes about a millisecond. */
  turn(slabs = 1): void {
    for (let i = 0; i < slabs && this.#isOverfull; i++) this.#letGo();
  }

  get #isOverfull(): boolean {
    if (this.#slabs[this.#oldest] === this.#newest) return false;
    const slack = SLACK_SLABS * this.#slabBytes;
    return this.#bytes > this.#bytesMax || this.#bytes > 2 * this.#liveBytes + slack;
  }

  /** The oldest slab goes; its live rows are spared if there is room, else only those asked for (a clock). */
  #letGo(): void {
    const slab = this.#slabs[this.#oldest] as Slab;
    this.#slabs[this.#oldest] = undefined;
    this.#oldest = (this.#oldest + 1) % SLABS_MAX;
    this.#bytes -= slab.bytes.length;
    const hasRoom = this.#liveBytes <= this.#bytesMax * 0.75;
    let sparable = hasRoom ? slab.end : slab.end / 2;
    for (let at = slab.number === 0 ? FIRST_OFFSET : 0; at < slab.end; ) {
      const place = placeOf(slab.number, at);
      const hash = slab.bytes.readUInt32LE(at);
      const flags = slab.bytes[at + 6] as number;
      const size = sizeIn(slab.bytes, at);
      const isSpared = (hasRoom || (flags & IS_ASKED) !== 0) && sparable >= size;
      const moved = isSpared && this.#index.has(hash, place) ? this.#append(size) : 0;
      if (moved !== 0) {
        const { bytes } = this.#slabOf(moved);
        const to = offsetOf(moved);
        slab.bytes.copy(bytes, to, at, at + size);
        bytes[to + 6] = flags & ~IS_ASKED;
        this.#index.move(hash, place, moved);
        sparable -= size;
      } else if (this.#index.remove(hash, place)) {
        this.#liveBytes -= size;
        if ((flags & IS_ABSENT) === 0) this.#isComplete = false;
      }
      at += size;
    }
  }

  /** Room for an entry of `bytes`: its place. */
  #append(bytes: number): number {
    const size = aligned(bytes);
    let slab = this.#newest;
    if (slab === undefined || slab.end + size > slab.bytes.length) slab = this.#addSlab(size);
    const place = placeOf(slab.number, slab.end);
    slab.end += size;
    return place;
  }

  #addSlab(size: number): Slab {
    const number = this.#newest === undefined ? 0 : (this.#newest.number + 1) % SLABS_MAX;
    const begin = number === 0 ? FIRST_OFFSET : 0;
    const bytes = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, size + begin));
    const slab = { number, bytes, end: begin };
    this.#slabs[number] = slab;
    this.#newest = slab;
    this.#bytes += bytes.length;
    return slab;
  }

  #slabOf(place: number): Slab {
    return this.#slabs[place >>> OFFSET_BITS] as Slab;
  }

  #sizeAt(place: number): number {
    return sizeIn(this.#slabOf(place).bytes, offsetOf(place));
  }

  #find(key: string, hash: number): number {
    this.#key = key;
    return this.#index.find(hash, this.#isKeyAt);
  }

  readonly #isKeyAt = (place: number): boolean => {
    const { bytes } = this.#slabOf(place);
    const at = offsetOf(place);
    const key = this.#key;
    if (bytes.readUInt16LE(at + 4) !== key.length) return false;
    // From the back: keys of a table begin alike.
    for (let i = key.length - 1, from = at + HEAD_BYTES; i >= 0; i--) {
      if (bytes[from + i] !== key.charCodeAt(i)) return false;
    }
    return true;
  };
}

/** The first place of all is not 0 (PackedIndex I1). */
const FIRST_OFFSET = 8;

const placeOf = (slab: number, offset: number): number =>
  ((slab << OFFSET_BITS) | (offset >>> UNIT_SHIFT)) >>> 0;
const offsetOf = (place: number): number => (place & OFFSET_MASK) << UNIT_SHIFT;
const aligned = (bytes: number): number => (bytes + 7) & ~7;
const sizeIn = (bytes: Buffer, at: number): number =>
  aligned(HEAD_BYTES + bytes.readUInt16LE(at + 4) + bytes.readUInt32LE(at + 8));
