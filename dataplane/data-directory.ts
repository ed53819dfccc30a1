// The data directory: whose it is, which format it has, and that only one process uses it.
//   D1. A directory of a newer version, or of another number of shards, is refused before anything in it is
//       touched.
//   D2. The lock of shard 0's database is the lock of the directory.
//   D3. The directories of the shards are durable before the identity is, and the identity before anything is
//       in them: when one of them is missing, data is missing, and nothing starts afresh in its place.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { FlowError } from '@flowmesh/protocol';
import { syncPath } from './storage/sync-path.ts';

const FORMAT = 1;

export interface DirectoryIdentity {
  readonly format: number;
  readonly clusterId: string;
  readonly shards: number;
}

export function openDataDirectory(dir: string, shards: number, random: () => number): DirectoryIdentity {
  const file = join(dir, 'flowmesh.json');
  makeDirectory(dir);
  if (!existsSync(file)) {
    const identity = { format: FORMAT, clusterId: newId(random), shards };
    makeShards(dir, shards);
    writeDurably(dir, file, `${JSON.stringify({ ...identity, crc: crcOf(identity) })}\n`);
    return identity;
  }
  const identity = parse(file);
  if (identity.format > FORMAT) {
    throw new FlowError(
      'DATA_TOO_NEW',
      `${dir} has format ${identity.format}, this version reads up to ${FORMAT}: ` +
        'run the version that wrote it, or a newer one',
    );
  }
  if (identity.shards !== shards) {
    throw new FlowError(
      'DATA_MISMATCH',
      `${dir} was created with ${identity.shards} shards, not ${shards}: shards are fixed at creation`,
    );
  }
  for (const shard of shardDirectories(dir, shards)) {
    if (!existsSync(shard))
      throw new FlowError('DATA_DAMAGED', `${shard} is missing: restore it from a backup`);
  }
  // Names may be in the cache only, if the last start was cut off.
  syncPath(dir);
  return identity;
}

/** Of what the file says. The first directories had none. */
interface Stored extends DirectoryIdentity {
  readonly crc?: number;
}

/** Of the file system that holds it: its size, and what is left for us. */
export async function spaceOf(dir: string): Promise<{ storageBytes: number; storageFreeBytes: number }> {
  const { blocks, bavail, bsize } = await statfs(dir);
  return { storageBytes: blocks * bsize, storageFreeBytes: bavail * bsize };
}

const crcOf = ({ format, clusterId, shards }: DirectoryIdentity): number =>
  crc32(`${format} ${clusterId} ${shards}`);

const shardDirectories = (dir: string, shards: number): string[] =>
  Array.from({ length: shards }, (_, id) => join(dir, `shard-${id}`));

/** With all directories above it that are missing; durable when it returns. */
function makeDirectory(dir: string): void {
  const made = mkdirSync(dir, { recursive: true, mode: 0o700 });
  for (let at = dir; made !== undefined && at.length >= made.length; at = dirname(at)) {
    syncPath(dirname(at));
  }
}

/** D3: the names become durable with the identity's, but not after it. */
function makeShards(dir: string, shards: number): void {
  const found = readdirSync(dir).find((name) => /^shard-\d+$/.test(name) && !isEmpty(join(dir, name)));
  if (found !== undefined) {
    const file = join(dir, 'flowmesh.json');
    throw new FlowError(
      'DATA_DAMAGED',
      `${file} is missing, but ${found} is there: restore it from a backup`,
    );
  }
  for (const shard of shardDirectories(dir, shards)) mkdirSync(shard, { recursive: true, mode: 0o700 });
  syncPath(dir);
}

const isEmpty = (dir: string) => readdirSync(dir).length === 0;

/** 128 random bits in hex. */
const newId = (random: () => number): string =>
  Array.from({ length: 16 }, () =>
    Math.floor(random() * 256)
      .toString(16)
      .padStart(2, '0'),
  ).join('');

function parse(file: string): DirectoryIdentity {
  try {
    const { format, clusterId, shards, crc } = JSON.parse(readFileSync(file, 'utf8')) as Stored;
    const identity = { format, clusterId, shards };
    const isWhole = Number.isInteger(format) && typeof clusterId === 'string' && Number.isInteger(shards);
    if (crc !== undefined && crc !== crcOf(identity)) throw new Error('its checksum does not match');
    if (isWhole) return identity;
  } catch (cause) {
    throw new FlowError('DATA_DAMAGED', `${file}: ${String(cause)}; restore it from a backup`, { cause });
  }
  throw new FlowError(
    'DATA_DAMAGED',
    `${file} does not say format, clusterId and shards: restore it from a backup`,
  );
}

function writeDurably(dir: string, file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
  syncPath(dir);
}
