// Checks a LevelDB directory before it is opened. LevelDB skips a damaged record of its log, does not verify
// blocks that it reads, and its compactions would give what they lost or mixed up new checksums. Rows carry
// their own (row-codec.ts), but a row that is not found carries none.
//   I1. Every byte that the manifest counts on is verified, before LevelDB changes anything.
//   I2. What a crash left is not damage: files the manifest does not know, and an end of a log that was
//       never known to be written. The journal has it.
import fs from 'node:fs/promises';
import path from 'node:path';
import { FlowError } from '@flowmesh/protocol';
import { BadBytes, checkTable, readLog, Varints } from './level-format.ts';

interface Version {
  /** Number -> bytes. */
  readonly tables: Map<number, number>;
  /** Logs from here on are replayed. */
  logNumber: number;
}

/** Rejects with DATA_DAMAGED naming file and byte. */
export async function checkLevel(dir: string): Promise<void> {
  const names = await fs.readdir(dir);
  const current = path.join(dir, 'CURRENT');
  const pointer = names.includes('CURRENT') ? await fs.readFile(current, 'latin1') : '';
  const manifest = /^(MANIFEST-\d+)\n$/.exec(pointer)?.[1];
  if (manifest === undefined || !names.includes(manifest)) throw damaged(current, 0, 'names no manifest');
  const version = await checked(path.join(dir, manifest), readManifest);
  const logs = names.filter(
    (name) => /^\d+\.log$/.test(name) && Number.parseInt(name, 10) >= version.logNumber,
  );
  for (const name of logs) await checked(path.join(dir, name), readLog);
  for (const [number, size] of version.tables) {
    const stem = String(number).padStart(6, '0');
    const name = [`${stem}.ldb`, `${stem}.sst`].find((each) => names.includes(each));
    if (name === undefined) throw damaged(path.join(dir, `${stem}.ldb`), 0, 'the file is missing');
    await checked(path.join(dir, name), (bytes) => {
      if (bytes.length !== size)
        throw new BadBytes(Math.min(bytes.length, size), `should have ${size} bytes`);
      checkTable(bytes);
    });
  }
}

async function checked<T>(file: string, check: (bytes: Buffer) => T): Promise<T> {
  const bytes = await fs.readFile(file);
  try {
    return check(bytes);
  } catch (error) {
    if (error instanceof BadBytes) throw damaged(file, error.at, error.message);
    if (error instanceof RangeError) throw damaged(file, 0, error.message);
    throw error;
  }
}

function readManifest(bytes: Buffer): Version {
  const { entries, tornAt } = readLog(bytes);
  const version: Version = { tables: new Map(), logNumber: -1 };
  for (const entry of entries) applyEdit(entry, version);
  if (version.logNumber < 0) throw new BadBytes(tornAt, 'the manifest ends too early');
  return version;
}

/** Tags: 1 comparator, 2 log, 3 next file, 4 sequence, 5 pointer, 6 gone, 7 new, 9 log before. */
function applyEdit(edit: Buffer, version: Version): void {
  const reader = new Varints(edit);
  const skipBytes = () => reader.skip(reader.number());
  while (!reader.done) {
    const tag = reader.number();
    if (tag === 1) skipBytes();
    else if (tag === 2) version.logNumber = reader.number();
    else if (tag === 3 || tag === 4 || tag === 9) reader.number();
    else if (tag === 5) {
      reader.number();
      skipBytes();
    } else if (tag === 6) {
      reader.number();
      version.tables.delete(reader.number());
    } else if (tag === 7) {
      reader.number();
      version.tables.set(reader.number(), reader.number());
      skipBytes();
      skipBytes();
    } else throw new BadBytes(0, `an edit with tag ${tag}`);
  }
}

function damaged(file: string, at: number, what: string): FlowError {
  return new FlowError('DATA_DAMAGED', `${file} at byte ${at}: ${what}; restore from a backup`);
}
