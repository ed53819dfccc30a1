// What recovery takes, cuts and refuses (R1-R4 of dataplane/journal/recovery.ts).
import { expect, test } from 'vitest';
import { ENTRY_HEADER_BYTES, HEAD_BYTES } from '../../dataplane/journal/codec.ts';
import { type EmbeddedJournal, openEmbeddedJournal } from '../../dataplane/journal/embedded.ts';
import { frame, texts, write } from './contract.ts';
import { FakeDisk } from './fake-disk.ts';

const SEGMENT_BYTES = 1024;
const FIRST = '/journal/0000000001.segment';
const OWNER = '/journal/owner';

const open = (files: FakeDisk, historyBytes = 0): Promise<EmbeddedJournal> =>
  openEmbeddedJournal({
    dir: '/journal',
    files,
    segmentBytes: SEGMENT_BYTES,
    historyBytes,
    nowMs: () => 1000,
    onFatal(error) {
      throw error;
    },
  });

/** A disk as a process leaves it that is killed after these appends, or closed. */
async function diskWith(payloads: readonly string[], { isClosed = false } = {}): Promise<FakeDisk> {
  const disk = new FakeDisk();
  const journal = await open(disk);
  const fence = await journal.fence();
  for (const payload of payloads) await write(journal, fence, payload);
  if (isClosed) await journal.close();
  return disk.copy();
}

const THREE = ['first', 'second', 'third'];
/** Where each of the three starts, and where they end. */
const STARTS = [...THREE, ''].map((_, index) =>
  THREE.slice(0, index).reduce((at, text) => at + ENTRY_HEADER_BYTES + text.length, HEAD_BYTES),
);
const [, SECOND = 0, THIRD = 0, END = 0] = STARTS;

test('[R3] a tail torn at any byte is cut, and its sequence is given again', async () => {
  const whole = await diskWith(THREE);
  for (const isShortened of [false, true]) {
    for (let cut = THIRD; cut < END; cut++) {
      const disk = whole.copy();
      if (isShortened) disk.replace(FIRST, disk.bytes(FIRST).subarray(0, cut));
      else disk.bytes(FIRST).fill(0, cut);
      const journal = await open(disk);
      expect(journal.tail()).toMatchObject({ first: 1, last: 2, lastTimeMs: 2000 });
      const fence = await journal.fence();
      expect(await write(journal, fence, 'again')).toBe(3);
      expect(await texts(journal)).toEqual(['first', 'second', 'again']);
      disk.kill();
      expect(await texts(await open(disk))).toEqual(['first', 'second', 'again']);
    }
  }
});

test('[R3] every damaged bit before the last entry is refused with file and byte', async () => {
  const whole = await diskWith(THREE);
  for (let at = 0; at < THIRD; at++) {
    const disk = whole.copy();
    flip(disk, FIRST, at);
    const entry = at < HEAD_BYTES ? 0 : at < SECOND ? HEAD_BYTES : SECOND;
    await expect(open(disk)).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
      message: expect.stringMatching(`^${FIRST}: .* at byte ${entry}$`),
    });
    flip(disk, FIRST, at);
    expect(await texts(await open(disk)), 'R1: a refusal changes nothing').toEqual(THREE);
  }
});

test('[R3] in the last entry it is a torn tail after a crash, and damage after a close', async () => {
  for (const isClosed of [false, true]) {
    const whole = await diskWith(THREE, { isClosed });
    for (let at = THIRD; at < END; at++) {
      const disk = whole.copy();
      flip(disk, FIRST, at);
      const opened = open(disk).then((journal) => journal.tail().last);
      if (isClosed) await expect(opened).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
      else expect(await opened).toBe(2);
    }
  }
});

test('[R2] [J4] damage in a sealed segment is found when it is read', async () => {
  const disk = await diskWith(many(40));
  flip(disk, FIRST, HEAD_BYTES + ENTRY_HEADER_BYTES);
  const journal = await open(disk);
  await expect(texts(journal)).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    message: `${FIRST}: entry 1 is damaged, at byte ${HEAD_BYTES}`,
  });
  expect(await texts(journal, 30)).toEqual(many(40).slice(29));
});

test.each([
  ['a segment in the middle', '/journal/0000000002.segment'],
  ['the owner file', OWNER],
])('refuses to start without %s', async (_, path) => {
  const disk = await diskWith(many(40));
  disk.remove(path);
  await expect(open(disk)).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    message: expect.stringContaining(path),
  });
});

test('refuses to start when all segments behind a known durable entry are gone', async () => {
  const disk = await diskWith(many(40), { isClosed: true });
  for (const path of disk.paths()) if (path > FIRST && path !== OWNER) disk.remove(path);
  await expect(open(disk)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  disk.remove(FIRST);
  await expect(open(disk)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
});

test('refuses a file of another place or journal', async () => {
  const disk = await diskWith(many(40));
  const other = await diskWith(many(40));
  disk.replace(FIRST, Buffer.from(disk.bytes('/journal/0000000002.segment')));
  await expect(open(disk)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  // The two journals were made at the same time; the identity is part of the head.
  const head = other.bytes(FIRST);
  head.writeDoubleLE(999, 8);
  await expect(open(other)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
});

test('[C2] refuses a newer format as such', async () => {
  const { encodeHead, encodeSlot } = await import('../../dataplane/journal/codec.ts');
  const { crc32 } = await import('node:zlib');
  const head = encodeHead({ identity: 1000, segmentId: 1, epoch: 1, firstSeq: 1, previousTimeMs: 0 });
  const slot = encodeSlot({ identity: 1000, epoch: 1, durable: 0 }, 99);
  for (const [path, record] of [[FIRST, head] as const, [OWNER, slot] as const]) {
    record.writeUInt32LE(2, 4);
    record.writeUInt32LE(crc32(record.subarray(0, 60)), 60);
    const disk = await diskWith(THREE);
    record.copy(disk.bytes(path));
    await expect(open(disk)).rejects.toMatchObject({ code: 'DATA_TOO_NEW' });
  }
});

test('[C1] entries of a recycled file are not taken for new ones', async () => {
  const disk = new FakeDisk();
  let recycled = 0;
  let prepared = 0;
  disk.before = (operation, path) => {
    if (operation === 'rename' && path.endsWith('.tmp')) prepared++;
    if (operation === 'rename' && path.endsWith('.segment')) recycled++;
  };
  const journal = await open(disk);
  const fence = await journal.fence();
  for (let seq = 1; seq <= 200; seq++) {
    await write(journal, fence, `entry ${String(seq).padStart(4, '0')}`);
    await journal.trim(seq - 2);
    const { last } = (await open(disk.copy())).tail();
    expect(last).toBe(seq);
  }
  expect(recycled).toBeGreaterThan(10);
  expect(prepared - recycled, 'zeroed').toBeLessThan(10);
});

test('a crash in the first write to a segment leaves a segment that is still good', async () => {
  const whole = await diskWith(many(40));
  const path =
    whole.paths().findLast((name) => whole.bytes(name).readUInt32LE(0) !== 0 && name !== OWNER) ?? '';
  const { last } = (await open(whole.copy())).tail();
  const { firstSeq } = { firstSeq: whole.bytes(path).readDoubleLE(24) };
  expect(last).toBeGreaterThan(firstSeq);
  // All that is left of the only entry, then its head as well.
  for (const cut of [HEAD_BYTES + 20, HEAD_BYTES, HEAD_BYTES - 20, 0]) {
    const disk = whole.copy();
    disk.bytes(path).fill(0, cut);
    const journal = await open(disk);
    expect(journal.tail().last).toBe(firstSeq - 1);
    const fence = await journal.fence();
    for (const payload of many(40)) await write(journal, fence, payload);
    expect(await texts(journal, firstSeq)).toEqual(many(40));
  }
});

test('[R3] what was cut does not come back behind a new entry of the same size', async () => {
  const disk = new FakeDisk();
  const journal = await open(disk);
  const fence = await journal.fence();
  await write(journal, fence, 'first');
  // One write: when the third was written, the second was not known durable.
  await together(journal, fence, ['second', 'third']);
  disk.kill();
  flip(disk, FIRST, THIRD - 1);
  const again = await open(disk);
  expect(again.tail().last).toBe(1);
  await write(again, await again.fence(), 'SECOND');
  disk.kill();
  expect(await texts(await open(disk))).toEqual(['first', 'SECOND']);
});

test('[R3] nor does what was written into a segment whose head is torn', async () => {
  const disk = new FakeDisk();
  const journal = await open(disk);
  const fence = await journal.fence();
  await together(journal, fence, ['first', 'second']);
  disk.kill();
  disk.bytes(FIRST).fill(0, 0, SECOND);
  const again = await open(disk);
  expect(again.tail().last).toBe(0);
  await write(again, await again.fence(), 'FIRST');
  disk.kill();
  expect(await texts(await open(disk))).toEqual(['FIRST']);
});

test('a segment whose only entry was cut may stay empty', async () => {
  const disk = await diskWith(['first']);
  disk.bytes(FIRST).fill(0, HEAD_BYTES + 20);
  const journal = await open(disk);
  await write(journal, await journal.fence(), 'x'.repeat(SEGMENT_BYTES));
  await journal.close();
  expect((await texts(await open(disk))).map((text) => text.length)).toEqual([SEGMENT_BYTES]);
});

test('an owner slot that is torn falls back to the other', async () => {
  const disk = await diskWith(THREE, { isClosed: true });
  const epoch = await (await open(disk.copy())).fence();
  for (const at of [0, 4096]) {
    const torn = disk.copy();
    torn.bytes(OWNER).fill(0, at, at + 20);
    const journal = await open(torn);
    expect(await texts(journal)).toEqual(THREE);
    expect(await journal.fence()).toBe(epoch);
  }
});

const many = (count: number) => Array.from({ length: count }, (_, index) => `entry ${index + 1}`);

/** Appends in one write: what the journal does next is decided after its caller has gone on. */
async function together(journal: EmbeddedJournal, fence: number, payloads: readonly string[]): Promise<void> {
  const next = journal.tail().last + 1;
  const appends = payloads.map((text, i) => journal.append(frame(text, 1000), { expect: next + i, fence }));
  await Promise.all(appends);
}

function flip(disk: FakeDisk, path: string, at: number): void {
  const bytes = disk.bytes(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
}
