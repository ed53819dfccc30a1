// What a checkpoint writes of packed rows: the changes that it froze, one after the other, from where they
// lie.
import { crc32 } from 'node:zlib';
import {
  ABSENT,
  BORN,
  CLEAN,
  flagsAt,
  keyFrom,
  type Slab,
  STALE,
  sizeAt,
  valueFrom,
  valueTo,
} from './packed-slabs.ts';
import { CRC_BYTES } from './row-codec.ts';

/** Entries of a slab, [from, to). */
export interface FrozenPart {
  readonly slab: Slab;
  readonly from: number;
  readonly to: number;
}

export interface Frozen {
  readonly parts: readonly FrozenPart[];
  /** Of what it writes. */
  readonly bytes: number;
  readonly hasDeletions: boolean;
}

export class FrozenCursor {
  key: Buffer = Buffer.alloc(0);
  /** As disk is to have it (row-codec.ts), a view; undefined: it is deleted. */
  stored: Buffer | undefined;
  readonly #parts: readonly FrozenPart[];
  #part = 0;
  #at: number;

  constructor({ parts }: Frozen) {
    this.#parts = parts;
    this.#at = parts[0]?.from ?? 0;
  }

  /** False: that was all. */
  next(): boolean {
    for (let part = this.#parts[this.#part]; part !== undefined; ) {
      if (this.#at >= part.to) {
        part = this.#parts[++this.#part];
        this.#at = part?.from ?? 0;
        continue;
      }
      const at = this.#at;
      this.#at += sizeAt(part.slab, at);
      if (this.#take(part.slab, at)) return true;
    }
    return false;
  }

  #take(slab: Slab, at: number): boolean {
    const flags = flagsAt(slab, at);
    if ((flags & (CLEAN | STALE)) !== 0) return false;
    if ((flags & ABSENT) !== 0 && (flags & BORN) !== 0) return false;
    const { bytes } = slab;
    const [from, middle, to] = [keyFrom(at), valueFrom(slab, at), valueTo(slab, at)];
    this.key = bytes.subarray(from, middle);
    this.stored = undefined;
    if ((flags & ABSENT) !== 0) return true;
    bytes.writeUInt32LE(crc32(bytes.subarray(from, to)), to);
    this.stored = bytes.subarray(middle, to + CRC_BYTES);
    return true;
  }
}
