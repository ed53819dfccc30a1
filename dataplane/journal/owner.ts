// The owner file: identity of the journal, fencing epoch, and how far the journal was durable at the last
// fence, trim or close. Two slots, written in place in turn: one is always intact, and a fence needs no space
// on a full disk.
import { FlowError } from '@flowmesh/protocol';
import { decodeSlot, encodeSlot, type Owner, SLOT_BYTES } from './codec.ts';
import type { JournalFile, JournalFiles } from './files.ts';

/** Apart by a page, so that no device writes both at once. */
const SLOT_AT = [0, 4096] as const;
const OWNER_BYTES = SLOT_AT[1] + SLOT_BYTES;

export const OWNER_FILE = 'owner';

export class OwnerFile {
  readonly #file: JournalFile;
  #owner: Owner;
  #generation: number;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: JournalFile, owner: Owner, generation: number) {
    this.#file = file;
    this.#owner = owner;
    this.#generation = generation;
  }

  /** Not durable until the caller has synced the directory. */
  static async create(files: JournalFiles, path: string, identity: number): Promise<OwnerFile> {
    const file = await files.open(path, 'create');
    await file.write([Buffer.alloc(OWNER_BYTES)], 0);
    const made = new OwnerFile(file, { identity, epoch: 0, durable: 0 }, 0);
    await made.write({});
    return made;
  }

  /** Undefined: a crash came before the file was made in full. */
  static async open(files: JournalFiles, path: string): Promise<OwnerFile | undefined> {
    const file = await files.open(path, 'write');
    const bytes = Buffer.alloc(OWNER_BYTES);
    await file.read(bytes, 0);
    const slots = SLOT_AT.map((at) => decodeSlot(bytes.subarray(at, at + SLOT_BYTES), path));
    const newest = slots.reduce((a, b) => (b !== undefined && b.generation > (a?.generation ?? -1) ? b : a));
    if (newest !== undefined) return new OwnerFile(file, newest.owner, newest.generation);
    await file.close();
    return undefined;
  }

  get owner(): Owner {
    return this.#owner;
  }

  /** Durable when resolved; one after the other. */
  write(change: Partial<Owner>): Promise<void> {
    this.#owner = { ...this.#owner, ...change };
    const slot = encodeSlot(this.#owner, ++this.#generation);
    const at = SLOT_AT[this.#generation % 2 === 0 ? 0 : 1];
    this.#writing = this.#writing.then(async () => {
      await this.#file.write([slot], at);
      await this.#file.sync();
    });
    return this.#writing;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export const damaged = (path: string, offset: number, what: string): FlowError =>
  new FlowError('DATA_DAMAGED', `${path}: ${what}, at byte ${offset}`);
