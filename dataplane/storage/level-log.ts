// Looks through LevelDB's write-ahead log before LevelDB does: that drops a batch whose checksum fails, takes
// the later ones, and says nothing, so rows of a checkpoint would be missing while its successor stands.
//   W1. Damage with a batch behind it is refused with file and byte: each batch is synced before the next,
//       so what is damaged was durable.
//   W2. Damage in the last batch is its torn tail. LevelDB drops it, the checkpoint before it stands again,
//       and the journal has the rest or says that it does not.
//
//   log    = block(32 KiB)*; a record never starts in the last 6 bytes of a block
//   record = u32 masked crc32c of type and data, u16 length, u8 type (full, first, middle, last), data
import { readdir, readFile } from 'node:fs/promises';
import { FlowError } from '@flowmesh/protocol';

const BLOCK_BYTES = 32 * 1024;
const HEAD_BYTES = 7;
const FULL = 1;
const FIRST = 2;
const LAST = 4;

/** Of all log files in a LevelDB directory; there may be none. */
export async function checkLevelLogs(dir: string): Promise<void> {
  const names = await readdir(dir).catch(ignoreMissing);
  for (const name of (names ?? []).filter((each) => /^\d+\.log$/.test(each)).sort()) {
    // LevelDB in another process may remove it meanwhile.
    const bytes = await readFile(`${dir}/${name}`).catch(ignoreMissing);
    const at = bytes && findDamage(bytes);
    if (at === undefined) continue;
    throw new FlowError(
      'DATA_DAMAGED',
      `${dir}/${name} at byte ${at}: checksum does not match; restore from a backup`,
    );
  }
}

/** Where the first record starts that is damaged and has the start of a batch behind it. */
export function findDamage(bytes: Buffer): number | undefined {
  let damagedAt: number | undefined;
  let at = 0;
  while (at + HEAD_BYTES <= bytes.length) {
    const blockEnd = at - (at % BLOCK_BYTES) + BLOCK_BYTES;
    if (blockEnd - at < HEAD_BYTES) {
      at = blockEnd;
      continue;
    }
    const end = at + HEAD_BYTES + bytes.readUInt16LE(at + 4);
    const type = bytes[at + 6] ?? 0;
    const isSound = end <= Math.min(blockEnd, bytes.length) && type >= FULL && type <= LAST;
    if (isSound && bytes.readUInt32LE(at) === masked(crc32c(bytes.subarray(at + 6, end)))) {
      if (damagedAt !== undefined && (type === FULL || type === FIRST)) return damagedAt;
      at = end;
    } else {
      damagedAt ??= at;
      // Its length cannot be trusted, but where it fits a record may stand behind it.
      at = isSound ? end : blockEnd;
    }
  }
  return undefined;
}

/** Castagnoli's polynomial, reversed; node:zlib has IEEE's only. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

function crc32c(bytes: Buffer): number {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = (TABLE[(crc ^ (bytes[i] ?? 0)) & 255] ?? 0) ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

/** As LevelDB stores it, so that checksums of data that holds checksums stay good. */
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
