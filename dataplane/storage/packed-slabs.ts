// Memory for packed rows outside of the collector's heap: slabs that are filled from front to back with
// entries, and places that name them in 32 bits.
//   S1. What is behind an entry's head never changes once it is appended, but for the room of its checksum.
//   S2. A place is not 0, and names its entry until the slab is released.
//
//   entry = hash(u32) keyLength(u16) flags(u16) valueLength(u32) batch(u32) key value crc(u32)   aligned to 8
import { ByteReader, ByteWriter } from './bytes.ts';
import { CRC_BYTES } from './row-codec.ts';

export interface Slab {
  readonly number: number;
  /** Later ones have larger ones; unlike numbers they never come round. */
  readonly ordinal: number;
  readonly bytes: Buffer;
  /** The same, for heads. */
  readonly words: Uint32Array;
  end: number;
  /** Holds changes that no checkpoint has frozen yet. */
  hasChanges: boolean;
  /** Holds what a checkpoint writes now. */
  isPinned: boolean;
}

/** There is no such row. */
export const ABSENT = 1;
/** Asked for since it was added or spared last. */
export const ASKED = 2;
/** A change that another one took the place of before a checkpoint froze it, or that was taken back. */
export const STALE = 4;
/** A change of a row of which disk knows nothing: if it is deleted, disk need not hear of it. */
export const BORN = 8;
/** As disk has it; others are, or were, changes. */
export const CLEAN = 16;
/** The index names another entry of the row, or none. A checkpoint that froze it writes it nevertheless. */
export const DEAD = 32;

export const SLAB_BYTES = 1024 * 1024;
const HEAD_BYTES = 16;
const UNIT_SHIFT = 3;
/** Of a place: the rest of its 32 bits is the slab. */
const OFFSET_BITS = 17;
const OFFSET_MASK = 2 ** OFFSET_BITS - 1;
const SLABS_MAX = 2 ** (32 - OFFSET_BITS);
/** The first place of all is not 0. */
const FIRST_OFFSET = 8;
/** For what follows the part of a value that did not fit. */
const ROOM_BYTES = 64;

export const placeOf = ({ number }: Slab, at: number): number =>
  ((number << OFFSET_BITS) | (at >>> UNIT_SHIFT)) >>> 0;
export const offsetOf = (place: number): number => (place & OFFSET_MASK) << UNIT_SHIFT;
export const beginOf = ({ number }: Slab): number => (number === 0 ? FIRST_OFFSET : 0);

export const hashAt = ({ words }: Slab, at: number): number => words[at >>> 2] as number;
export const keyLengthAt = ({ words }: Slab, at: number): number =>
  (words[(at >>> 2) + 1] as number) & 0xffff;
export const flagsAt = ({ words }: Slab, at: number): number => (words[(at >>> 2) + 1] as number) >>> 16;
export const setFlagsAt = (slab: Slab, at: number, flags: number): void => {
  slab.words[(at >>> 2) + 1] = keyLengthAt(slab, at) | (flags << 16);
};
const valueLengthAt = ({ words }: Slab, at: number): number => words[(at >>> 2) + 2] as number;
/** The lower 32 bits. */
export const batchAt = ({ words }: Slab, at: number): number => words[(at >>> 2) + 3] as number;
export const keyFrom = (at: number): number => at + HEAD_BYTES;
export const valueFrom = (slab: Slab, at: number): number => at + HEAD_BYTES + keyLengthAt(slab, at);
export const valueTo = (slab: Slab, at: number): number => valueFrom(slab, at) + valueLengthAt(slab, at);
export const sizeAt = (slab: Slab, at: number): number => aligned(valueTo(slab, at) + CRC_BYTES - at);

export const keyAt = (slab: Slab, at: number): string =>
  slab.bytes.toString('latin1', keyFrom(at), valueFrom(slab, at));
export const readerAt = (slab: Slab, at: number): ByteReader =>
  new ByteReader(slab.bytes, valueFrom(slab, at), valueTo(slab, at));

const aligned = (bytes: number): number => (bytes + 7) & ~7;

/** Writes one entry; where the slab ends too early, what was written of it moves to a new one. */
class EntryWriter extends ByteWriter {
  slab: Slab | undefined;
  start = 0;
  readonly #add: (room: number) => Slab;

  constructor(add: (room: number) => Slab) {
    super(0);
    this.#add = add;
  }

  begin(slab: Slab): void {
    this.slab = slab;
    this.buffer = slab.bytes;
    this.start = slab.end;
    this.length = slab.end;
  }

  override grow(bytes: number): void {
    const before = this.buffer;
    const written = this.length - this.start;
    const slab = this.#add(2 * written + bytes + ROOM_BYTES);
    before.copy(slab.bytes, slab.end, this.start, this.length);
    this.begin(slab);
    this.length += written;
  }
}

export class PackedSlabs {
  /** Those in use, in order of their birth. */
  readonly order: Slab[] = [];
  /** Of the entry that was begun: its value goes here. */
  readonly writer: ByteWriter;
  bytes = 0;
  readonly #slabBytes: number;
  readonly #entry: EntryWriter;
  /** By number. */
  readonly #slabs: (Slab | undefined)[] = [];
  #born = 0;
  #keyLength = 0;

  constructor(slabBytes: number) {
    this.#slabBytes = aligned(Math.floor(slabBytes));
    this.#entry = new EntryWriter((room) => this.#add(room));
    this.writer = this.#entry;
  }

  get newest(): Slab | undefined {
    return this.order[this.order.length - 1];
  }

  of(place: number): Slab {
    return this.#slabs[place >>> OFFSET_BITS] as Slab;
  }

  /** Until `end`, its value may be written. */
  begin(key: string): void {
    const entry = this.#entry;
    entry.begin(this.#withRoom(HEAD_BYTES + key.length));
    entry.buffer.write(key, entry.start + HEAD_BYTES, 'latin1');
    entry.length = entry.start + HEAD_BYTES + key.length;
    this.#keyLength = key.length;
  }

  /** Its place. */
  end(hash: number, flags: number, batch: number): number {
    const entry = this.#entry;
    entry.reserve(CRC_BYTES);
    const { start } = entry;
    const slab = entry.slab as Slab;
    const at = start >>> 2;
    slab.words[at] = hash;
    slab.words[at + 1] = this.#keyLength | (flags << 16);
    slab.words[at + 2] = entry.length - start - HEAD_BYTES - this.#keyLength;
    slab.words[at + 3] = batch;
    slab.end = start + aligned(entry.length + CRC_BYTES - start);
    return placeOf(slab, start);
  }

  /** A copy of the entry with other flags: its place. */
  copy(from: Slab, at: number, flags: number): number {
    const size = sizeAt(from, at);
    const slab = this.#withRoom(size);
    const to = slab.end;
    from.bytes.copy(slab.bytes, to, at, at + size);
    setFlagsAt(slab, to, flags);
    slab.end = to + size;
    return placeOf(slab, to);
  }

  release(slab: Slab): void {
    this.order.splice(this.order.indexOf(slab), 1);
    this.#slabs[slab.number] = undefined;
    this.bytes -= slab.bytes.length;
  }

  #withRoom(bytes: number): Slab {
    const slab = this.newest;
    // Behind a large entry there may be room that no place can name.
    const isFull = slab === undefined || slab.end >= SLAB_BYTES || slab.end + bytes > slab.bytes.length;
    return isFull ? this.#add(bytes) : slab;
  }

  #add(room: number): Slab {
    const ordinal = this.#born++;
    let number = ordinal % SLABS_MAX;
    // One that is kept for long may still have it.
    while (this.#slabs[number] !== undefined) number = this.#born++ % SLABS_MAX;
    const begin = number === 0 ? FIRST_OFFSET : 0;
    const bytes = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, aligned(room + begin)));
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    const slab = { number, ordinal, bytes, words, end: begin, hasChanges: false, isPinned: false };
    this.#slabs[number] = slab;
    this.order.push(slab);
    this.bytes += bytes.length;
    return slab;
  }
}
