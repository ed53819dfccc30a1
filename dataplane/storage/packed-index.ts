// Where packed rows lie: an open-addressing table of 32-bit places beside 32-bit hashes, in
// many small parts, so that none takes long to grow. Knows nothing of rows: the owner compares keys.
//   I1. A place is not 0. A removed slot is closed by moving back what follows: no tombstones.

const PARTS = 256;
const PART_BITS = 8;
const SLOTS_MIN = 16;

/** Slot i: hash at 2 i, place at 2 i + 1; place 0: free. */
interface Part {
  slots: Uint32Array;
  mask: number;
  count: number;
}

export class PackedIndex {
  readonly #parts: (Part | undefined)[];
  readonly #partMask: number;
  count = 0;

  /** A power of two, at most 256. */
  constructor(parts = PARTS) {
    this.#parts = new Array(parts).fill(undefined);
    this.#partMask = parts - 1;
  }

  /** The place that `isIt` accepts among those of this hash; 0: none. */
  find(hash: number, isIt: (place: number) => boolean): number {
    const part = this.#parts[hash & this.#partMask];
    if (part === undefined) return 0;
    const { slots, mask } = part;
    for (let slot = (hash >>> PART_BITS) & mask; ; slot = (slot + 1) & mask) {
      const place = slots[2 * slot + 1] as number;
      if (place === 0) return 0;
      if (slots[2 * slot] === hash && isIt(place)) return place;
    }
  }

  /** What `find` looks at first, whatever it is: by then it is in the processor's cache. */
  glance(hash: number): number {
    const part = this.#parts[hash & this.#partMask];
    return part === undefined ? 0 : (part.slots[2 * ((hash >>> PART_BITS) & part.mask) + 1] as number);
  }

  /** Nothing of the same key may be there. */
  add(hash: number, place: number): void {
    let part = this.#parts[hash & this.#partMask];
    if (part === undefined) {
      part = { slots: new Uint32Array(2 * SLOTS_MIN), mask: SLOTS_MIN - 1, count: 0 };
      this.#parts[hash & this.#partMask] = part;
    }
    if (part.count * 4 >= (part.mask + 1) * 3) grow(part);
    insert(part, hash, place);
    part.count++;
    this.count++;
  }

  /** Puts `to` where `from` is. False: it is not there. */
  move(hash: number, from: number, to: number): boolean {
    const part = this.#parts[hash & this.#partMask];
    const slot = part === undefined ? -1 : slotOf(part, hash, from);
    if (part === undefined || slot === -1) return false;
    part.slots[2 * slot + 1] = to;
    return true;
  }

  /** False: it is not there. */
  remove(hash: number, place: number): boolean {
    const part = this.#parts[hash & this.#partMask];
    const slot = part === undefined ? -1 : slotOf(part, hash, place);
    if (part === undefined || slot === -1) return false;
    close(part, slot);
    part.count--;
    this.count--;
    return true;
  }
}

function insert({ slots, mask }: Part, hash: number, place: number): void {
  let slot = (hash >>> PART_BITS) & mask;
  while (slots[2 * slot + 1] !== 0) slot = (slot + 1) & mask;
  slots[2 * slot] = hash;
  slots[2 * slot + 1] = place;
}

function slotOf({ slots, mask }: Part, hash: number, place: number): number {
  for (let slot = (hash >>> PART_BITS) & mask; ; slot = (slot + 1) & mask) {
    const found = slots[2 * slot + 1] as number;
    if (found === place) return slot;
    if (found === 0) return -1;
  }
}

/** I1 */
function close({ slots, mask }: Part, removed: number): void {
  let hole = removed;
  for (let slot = (hole + 1) & mask; slots[2 * slot + 1] !== 0; slot = (slot + 1) & mask) {
    const home = ((slots[2 * slot] as number) >>> PART_BITS) & mask;
    // It may move back unless its home lies behind the hole.
    if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
    slots[2 * hole] = slots[2 * slot] as number;
    slots[2 * hole + 1] = slots[2 * slot + 1] as number;
    hole = slot;
  }
  slots[2 * hole + 1] = 0;
}

function grow(part: Part): void {
  const { slots, mask } = part;
  part.mask = mask * 2 + 1;
  part.slots = new Uint32Array(2 * (part.mask + 1));
  for (let slot = 0; slot <= mask; slot++) {
    const place = slots[2 * slot + 1] as number;
    if (place !== 0) insert(part, slots[2 * slot] as number, place);
  }
}
