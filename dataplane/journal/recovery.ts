// Opens what a journal directory holds after any end, clean or not. Only the last segment in use is read in
// full; entries of the sealed ones are checked when they are read.
//
//   R1. Nothing is changed before it is certain that nothing durable is missing.
//   R2. A segment is used only when all before it are synced (E2); so outside the last one every bad byte
//       is damage.
//   R3. In the last one a bad entry is damage if something proves that it was durable: a later header of
//       this segment whose `durableUpTo` reaches it, or the owner file. Else it is what a crash left of a
//       write that was never acknowledged, and is cut.
//   R4. What is taken over is written and synced again: the page cache may show bytes that a failed sync
//       never put on disk, and call them clean ("fsyncgate"; Rebello et al., USENIX ATC 2020).
import { decodeHead, HEAD_BYTES, type Head, seedOf } from './codec.ts';
import type { JournalFile, JournalFiles } from './files.ts';
import { damaged, OWNER_FILE, OwnerFile } from './owner.ts';
import { holdsEntries, proofOf, type ScannedEntry, scanEntries } from './scan.ts';
import { isSegmentName, type Segment, type Spare, segmentPath, zero } from './segments.ts';

export interface Recovered {
  readonly owner: OwnerFile;
  /** In use, oldest first. */
  readonly segments: Segment[];
  /** The last of `segments`, open; undefined if there is none. */
  readonly active: { readonly file: JournalFile; readonly end: number } | undefined;
  readonly spares: Spare[];
  readonly last: { readonly seq: number; readonly timeMs: number; readonly epoch: number };
  /** Bytes behind the last entry that have been zeroed, as there were torn entries in them. */
  readonly clearedBytes: number;
}

interface Found {
  readonly id: number;
  readonly path: string;
  readonly file: JournalFile;
  readonly bytes: number;
  readonly head: Head | undefined;
  readonly isBlank: boolean;
}

export async function recover(
  files: JournalFiles,
  { dir, nowMs }: { dir: string; nowMs: () => number },
): Promise<Recovered> {
  const open: { close(): Promise<void> }[] = [];
  try {
    const names = await files.list(dir);
    const found: Found[] = [];
    for (const name of names.filter(isSegmentName).sort()) {
      const file = await files.open(`${dir}/${name}`, 'write');
      open.push(file);
      found.push(await inspect(file, `${dir}/${name}`, Number.parseInt(name, 10)));
    }
    const isNew = found.length === 0;
    const owner = await openOwner(files, `${dir}/${OWNER_FILE}`, {
      exists: names.includes(OWNER_FILE),
      isNew,
      nowMs,
    });
    open.push(owner);
    checkOrder(dir, found, owner.owner.identity);
    const recovered = await takeOver(dir, found, owner);
    for (const name of names) if (name.endsWith('.tmp')) await files.unlink(`${dir}/${name}`);
    // Names may be in the cache only, like content (R4).
    await files.syncDirectory(dir);
    return recovered;
  } catch (error) {
    await Promise.allSettled(open.map((file) => file.close()));
    throw error;
  }
}

async function inspect(file: JournalFile, path: string, id: number): Promise<Found> {
  const head = Buffer.alloc(HEAD_BYTES);
  await file.read(head, 0);
  return {
    id,
    path,
    file,
    bytes: await file.size(),
    head: decodeHead(head, path),
    isBlank: head.every((byte) => byte === 0),
  };
}

async function openOwner(
  files: JournalFiles,
  path: string,
  { exists, isNew, nowMs }: { exists: boolean; isNew: boolean; nowMs: () => number },
): Promise<OwnerFile> {
  const owner = exists ? await OwnerFile.open(files, path) : undefined;
  if (owner !== undefined) return owner;
  // It is durable before the first segment is made.
  if (!isNew) throw damaged(path, 0, 'missing or no intact slot');
  return OwnerFile.create(files, path, nowMs());
}

/** Ids are dense; heads are their own, and none goes back behind the one before. */
function checkOrder(dir: string, found: readonly Found[], identity: number): void {
  const lastUsed = found.findLastIndex(({ head }) => head !== undefined);
  for (const [index, { id, path, head }] of found.entries()) {
    const before = found[index - 1];
    if (before !== undefined && id !== before.id + 1)
      throw damaged(segmentPath(dir, before.id + 1), 0, 'file is missing');
    if (index <= lastUsed && head === undefined) throw damaged(path, 0, 'segment head is damaged');
    if (head === undefined) continue;
    if (head.identity !== identity || head.segmentId !== id)
      throw damaged(path, 0, 'segment head belongs to another file');
    // Equal: the only entry of the one before was cut, and the next one did not fit there.
    if (head.firstSeq < (before?.head?.firstSeq ?? 1))
      throw damaged(path, 0, 'segment starts before the one before it');
  }
}

async function takeOver(dir: string, found: readonly Found[], owner: OwnerFile): Promise<Recovered> {
  const { identity, durable, epoch } = owner.owner;
  const seed = seedOf(identity);
  const used = found.flatMap((segment) =>
    segment.head === undefined ? [] : [{ ...segment, head: segment.head }],
  );
  const last = used.at(-1);
  const tail = last && (await readTail(last, { seed, durable }));
  const seq = tail?.seq ?? 0;
  const spares = found.slice(used.length);
  const dirty = [];
  for (const [index, spare] of spares.entries()) {
    // Only the next one can have been written to (R2).
    const isTorn = index === 0 && (await holdsTorn(spare, { seed, seq, durable }));
    if (isTorn || !spare.isBlank) dirty.push(spare);
  }
  if (durable > seq)
    throw damaged(
      last?.path ?? found[0]?.path ?? dir,
      tail?.end ?? 0,
      `entry ${seq + 1} is damaged or missing`,
    );

  // Files change from here on (R1).
  for (const { file, bytes } of dirty) {
    await zero(file, { from: 0, to: bytes });
    await file.sync();
  }
  if (last !== undefined && tail !== undefined) {
    if (tail.clearedBytes > 0) await zero(last.file, { from: tail.end, to: last.bytes });
    if (tail.unproven.length > 0) await last.file.write([tail.unproven], tail.end - tail.unproven.length);
    await last.file.sync();
  }
  for (const { file } of used.slice(0, -1)) await file.close();
  return {
    owner,
    segments: used.map(({ id, path, bytes, head }) => ({ id, path, bytes, ...head, readers: 0 })),
    active: last && tail && { file: last.file, end: tail.end },
    spares: spares.map(({ id, path, bytes, file }) => ({ id, path, bytes, file })),
    // An owner slot may be lost; no entry carries an epoch that was not given out.
    last: { seq, timeMs: tail?.timeMs ?? 0, epoch: Math.max(epoch, tail?.epoch ?? 0) },
    clearedBytes: tail?.clearedBytes ?? 0,
  };
}

interface Tail {
  readonly seq: number;
  readonly timeMs: number;
  readonly epoch: number;
  readonly end: number;
  /** Bytes before `end` that may not be durable (R4). */
  readonly unproven: Buffer;
  readonly clearedBytes: number;
}

async function readTail(
  { id, path, file, bytes: size, head }: Found & { head: Head },
  { seed, durable }: { seed: number; durable: number },
): Promise<Tail> {
  const bytes = await readAll(file, size);
  const { entries, end } = scanEntries(bytes, { segmentId: id, seed, firstSeq: head.firstSeq });
  const last = entries.at(-1)?.header;
  const seq = last?.seq ?? head.firstSeq - 1;
  if (proofOf(seq + 1, bytes, { segmentId: id, seed, from: end }) !== -1) {
    throw damaged(path, end, `entry ${seq + 1} is damaged`);
  }
  const known = Math.max(durable, last?.durableUpTo ?? 0);
  return {
    seq,
    timeMs: last?.timeMs ?? head.previousTimeMs,
    epoch: last?.epoch ?? head.epoch,
    end,
    unproven:
      known >= seq && entries.length > 0 ? Buffer.of() : bytes.subarray(startOf(entries, known + 1), end),
    // What holds no header of this segment can stay: nothing in there is ever taken for an entry (C1).
    clearedBytes: holdsEntries(bytes.subarray(end), { segmentId: id, seed }) ? bytes.length - end : 0,
  };
}

/** Where the first entry from `seq` on starts; the head counts with the first one: they are one write. */
function startOf(entries: readonly ScannedEntry[], seq: number): number {
  const index = entries.findIndex(({ header }) => header.seq >= seq);
  return index <= 0 ? 0 : (entries[index]?.at ?? 0);
}

/**
 * Whether a crash left entries of a first write behind a blank or torn head. `seq`: last entry before this
 * file; if a later one was known durable, the file was in use and has lost its head.
 */
async function holdsTorn(
  { id, path, file, bytes: size }: Found,
  { seed, seq, durable }: { seed: number; seq: number; durable: number },
): Promise<boolean> {
  const bytes = await readAll(file, size);
  const holds = holdsEntries(bytes, { segmentId: id, seed });
  const isProven = durable > seq || proofOf(seq + 1, bytes, { segmentId: id, seed, from: 0 }) !== -1;
  if (holds && isProven) throw damaged(path, 0, 'segment head is damaged');
  return holds;
}

async function readAll(file: JournalFile, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(size);
  return bytes.subarray(0, await file.read(bytes, 0));
}
