import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crc32c } from '../../dataplane/storage/crc32c.ts';
import { openLevel } from '../../dataplane/storage/level.ts';
import { bearLevel } from '../../dataplane/storage/level-birth.ts';
import { checkLevel } from '../../dataplane/storage/level-check.ts';

let dir: string;
const bytesMax = 400;

async function use(run: (db: ClassicLevel<string, string>) => Promise<void>) {
  const db = new ClassicLevel<string, string>(dir);
  await db.open();
  await run(db);
  await db.close();
}

const put = (db: ClassicLevel<string, string>, batch: number) =>
  db.batch(
    Array.from({ length: bytesMax }, (_, i) => ({
      type: 'put' as const,
      key: `some/rather/long/prefix/${batch}/${String(i).padStart(6, '0')}`,
      value: `${batch} ${'value '.repeat(3)}`,
    })),
    { sync: true },
  );

/** Tables from earlier starts, and a log with three batches. */
beforeAll(async () => {
  const base = mkdtempSync(join(tmpdir(), 'flowmesh-level-'));
  dir = join(base, 'rows');
  await bearLevel(dir);
  await use((db) => put(db, 1));
  await use((db) => put(db, 2));
  await use(async (db) => {
    for (const batch of [3, 4, 5]) await put(db, batch);
  });
});
afterAll(() => rmSync(join(dir, '..'), { recursive: true, force: true }));

const file = (pattern: RegExp) => join(dir, readdirSync(dir).find((name) => pattern.test(name)) ?? 'none');

/** What the check says with the change in place. */
async function withChange(path: string, change: (bytes: Buffer) => Buffer | undefined): Promise<string> {
  const before = readFileSync(path);
  writeFileSync(path, change(Buffer.from(before)) ?? before);
  const said = await checkLevel(dir).then(
    () => 'fine',
    (error: Error) => error.message,
  );
  writeFileSync(path, before);
  return said;
}

const flip = (at: number) => (bytes: Buffer) => {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
  return bytes;
};

describe('a LevelDB directory', () => {
  test('is fine as LevelDB left it', async () => {
    await checkLevel(dir);
    expect(file(/\.ldb$/)).not.toContain('none');
  });

  test('is damaged when any bit of a table is, but for padding', async () => {
    const table = file(/\.ldb$/);
    const size = readFileSync(table).length;
    let fine = 0;
    for (let at = 0; at < size; at += 3) {
      const said = await withChange(table, flip(at));
      if (said === 'fine') fine++;
      else expect(said).toContain(table);
    }
    // Two handles take up to twenty of the forty bytes before the magic number.
    expect(fine).toBeLessThan(14);
  });

  test('is damaged when a table is cut or missing', async () => {
    const table = file(/\.ldb$/);
    expect(await withChange(table, (bytes) => bytes.subarray(0, -1))).toContain(`${table} at byte`);
    const before = readFileSync(table);
    rmSync(table);
    await expect(checkLevel(dir)).rejects.toThrow(/is missing/);
    writeFileSync(table, before);
  });

  test('is damaged when a batch is that was followed by another, and not when the last one is', async () => {
    const log = file(/\.log$/);
    const size = readFileSync(log).length;
    const third = Math.floor(size / 3);
    for (let at = 0; at < 2 * third - 64; at += 101)
      expect(await withChange(log, flip(at)), `byte ${at}`).toContain(log);
    for (let at = 2 * third + 64; at < size; at += 101)
      expect(await withChange(log, flip(at)), `byte ${at}`).toBe('fine');
    for (const end of [0, third, size - 1]) {
      expect(await withChange(log, (bytes) => bytes.subarray(0, end)), `cut to ${end}`).toBe('fine');
    }
  });

  test('is damaged when its manifest or the pointer to it is', async () => {
    const manifest = file(/^MANIFEST/);
    const size = readFileSync(manifest).length;
    for (let at = 0; at < size / 2; at += 5)
      expect(await withChange(manifest, flip(at)), `byte ${at}`).toContain(manifest);
    for (let at = 0; at < 16; at++)
      expect(await withChange(file(/^CURRENT/), flip(at)), `byte ${at}`).toContain('CURRENT');
  });

  test('that another process uses is locked, whatever it is just writing', async () => {
    const open = new ClassicLevel<string, string>(dir);
    await open.open();
    const current = file(/^CURRENT/);
    const before = readFileSync(current);
    writeFileSync(current, '');
    await expect(openLevel({ dir })).rejects.toMatchObject({ code: 'DATA_LOCKED' });
    writeFileSync(current, before);
    await open.close();
  });

  test('may hold what a crash left of a table that no manifest knows', async () => {
    writeFileSync(join(dir, '000900.ldb'), 'half of a table');
    await checkLevel(dir);
    truncateSync(join(dir, '000900.ldb'), 0);
    await checkLevel(dir);
    rmSync(join(dir, '000900.ldb'));
  });
});

test('crc32c is that of Castagnoli at every length and place', () => {
  expect(crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe306_9283);
  expect(crc32c(Buffer.alloc(32), 0, 32)).toBe(0x8a91_36aa);
  expect(crc32c(Buffer.from('xx123456789yy'), 2, 11)).toBe(0xe306_9283);
});
