// A disk that is full, and one that fails.
import { expect, test } from 'vitest';
import { type EmbeddedJournal, openEmbeddedJournal } from '../../dataplane/journal/embedded.ts';
import { JournalFull } from '../../dataplane/journal/journal.ts';
import { frame, texts, write } from './contract.ts';
import { FakeDisk, ioError, type Operation } from './fake-disk.ts';

const SEGMENT_BYTES = 1024;
/** Entries of 100 bytes in a segment. */
const ENTRIES = 6;

interface Bench {
  readonly disk: FakeDisk;
  readonly journal: EmbeddedJournal;
  readonly fence: number;
  /** States and fatal errors in order. */
  readonly seen: string[];
  wait(ms: number): void;
}

async function bench({ disk = new FakeDisk(), historyBytes = 0 } = {}): Promise<Bench> {
  let nowMs = 1000;
  const seen: string[] = [];
  const journal = await openEmbeddedJournal({
    dir: '/journal',
    files: disk,
    segmentBytes: SEGMENT_BYTES,
    historyBytes,
    nowMs: () => nowMs,
    onFatal: (error) => seen.push(`fatal ${error.message}`),
  });
  journal.onState((state) => seen.push(state));
  const wait = (ms: number) => {
    nowMs += ms;
  };
  return { disk, journal, fence: await journal.fence(), seen, wait };
}

/** Appends until it is refused; returns the payloads that were acknowledged. */
async function fill({ journal, fence }: Bench): Promise<string[]> {
  const acknowledged: string[] = [];
  for (;;) {
    const text = `entry ${journal.tail().last + 1}`.padEnd(100);
    try {
      await write(journal, fence, text);
    } catch (error) {
      expect(error).toBeInstanceOf(JournalFull);
      return acknowledged;
    }
    acknowledged.push(text);
  }
}

test.each<[string, (disk: FakeDisk, isFull: boolean) => void]>([
  ['free space', setCapacity],
  ['its errors', setErrors],
])('[G2] a full disk, known by %s, leaves a reserve and clears by itself', async (_, setFull) => {
  const b = await bench();
  await b.journal.trim(0);
  setFull(b.disk, true);
  const acknowledged = await fill(b);
  expect(b.seen).toEqual(['full']);
  expect(acknowledged.length, 'the next segment and the reserve').toBe(2 * ENTRIES);
  expect(await texts(b.journal)).toEqual(acknowledged);

  const paths = b.disk.paths();
  const next = acknowledged.length + 1;
  const waiting = [0, 1, 2].map((i) =>
    b.journal.append(frame('x'.repeat(100), 9), { expect: next + i, fence: b.fence }),
  );
  for (const { status } of await Promise.allSettled(waiting)) expect(status).toBe('rejected');
  expect(b.disk.paths(), '[E4] nothing was written').toEqual(paths);

  setFull(b.disk, false);
  b.journal.poke();
  await expect(write(b.journal, b.fence, 'too early'.padEnd(100))).rejects.toBeInstanceOf(JournalFull);
  b.wait(1000);
  b.journal.poke();
  expect(await write(b.journal, b.fence, 'there is room'.padEnd(100))).toBe(next);
  await b.journal.trim(0);
  expect(b.seen).toEqual(['full', 'ready']);
  expect((await texts(b.journal, next)).map((text) => text.trim())).toEqual(['there is room']);
});

test('[G2] trimmed segments take the place of new ones on a full disk', async () => {
  const b = await bench();
  for (let i = 0; i < 5 * ENTRIES; i++) await write(b.journal, b.fence, 'x'.repeat(100));
  await b.journal.trim(0);
  b.disk.capacityBytes = 0;
  const acknowledged = await fill(b);
  await b.journal.trim(b.journal.tail().last);
  expect(b.seen).toEqual(['full', 'ready']);
  expect(await write(b.journal, b.fence, 'goes on')).toBe(5 * ENTRIES + acknowledged.length + 1);
});

test('a full disk does not keep a journal from being opened, fenced and read', async () => {
  const before = await bench();
  await before.journal.trim(0);
  before.disk.capacityBytes = 0;
  const acknowledged = await fill(before);
  before.disk.kill();
  const { journal, fence } = await bench({ disk: before.disk });
  expect(fence).toBe(before.fence + 1);
  expect(await texts(journal)).toEqual(acknowledged);
  await journal.close();
});

test.each<[string, Operation, RegExp]>([
  ['write', 'write', /writing an entry/],
  ['fdatasync', 'sync', /writing an entry/],
])('[J3] [E3] a failed %s poisons the journal', async (_, operation, message) => {
  const { journal, fence, disk, seen } = await bench();
  await write(journal, fence, 'one');
  await journal.trim(0);
  let failures = 0;
  disk.before = (done) => {
    if (done === operation && failures++ === 0) throw ioError('EIO');
  };
  const waiting = [2, 3, 4].map((expect) => journal.append(frame('lost', 2), { expect, fence }));
  for (const end of await Promise.allSettled(waiting)) {
    expect(end).toMatchObject({ status: 'rejected', reason: { code: 'INTERNAL', cause: { code: 'EIO' } } });
  }
  expect(seen).toEqual(['failed', expect.stringMatching(message)]);
  await expect(write(journal, fence, 'more')).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(journal.fence()).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(failures, 'it is never tried again').toBe(1);
  await journal.close();
  expect(journal.state()).toBe('failed');

  disk.kill();
  const again = await bench({ disk });
  expect((await texts(again.journal))[0]).toBe('one');
});

test('[E3] a failure while a segment is prepared ends what is under way, too', async () => {
  const b = await bench();
  await b.journal.trim(0);
  b.disk.before = (operation, path) => {
    if (operation === 'rename' && path.endsWith('next.tmp')) throw ioError('EIO');
  };
  const outcomes: string[] = [];
  while (b.journal.state() !== 'failed') {
    await write(b.journal, b.fence, 'x'.repeat(300)).then(
      () => outcomes.push(b.journal.state()),
      () => outcomes.push('refused'),
    );
  }
  expect(outcomes).not.toContain('failed');
  expect(b.seen).toEqual(['failed', expect.stringMatching(/preparing/)]);
});

test('[G3] a segment is not recycled while it is read', async () => {
  const { journal, fence } = await bench();
  const written: string[] = [];
  for (let seq = 1; seq <= 30; seq++) {
    written.push(`entry ${seq}`.padEnd(100));
    await write(journal, fence, `entry ${seq}`.padEnd(100));
  }
  const read: string[] = [];
  for await (const { seq, payload } of journal.read(1)) {
    read.push(payload.toString());
    if (seq > 2) continue;
    await journal.trim(20);
    for (let more = 0; more < 10; more++) await write(journal, fence, 'more'.padEnd(100));
    expect(journal.tail().first).toBe(1);
    break;
  }
  expect(read).toEqual(written.slice(0, 1));
  await journal.trim(20);
  expect(journal.tail().first).toBeGreaterThan(10);
  await expect(texts(journal, 1)).rejects.toMatchObject({ code: 'HISTORY_TRIMMED' });
});

test('history goes by age as well', async () => {
  const { journal, fence, wait } = await bench({ historyBytes: 1e9 });
  for (let seq = 1; seq <= 30; seq++) await write(journal, fence, 'x'.repeat(100));
  await journal.trim(30);
  expect(journal.tail().first).toBe(1);
  wait(24 * 3600 * 1000 + 15_000);
  await journal.trim(30);
  expect(journal.tail().first).toBeGreaterThan(1);
  expect(journal.tail().first).toBeLessThan(30);
});

function setCapacity(disk: FakeDisk, isFull: boolean): void {
  disk.capacityBytes = isFull ? 0 : Number.POSITIVE_INFINITY;
}

function setErrors(disk: FakeDisk, isFull: boolean): void {
  disk.before = (operation, path) => {
    if (isFull && operation === 'rename' && path.endsWith('.tmp')) throw ioError('ENOSPC');
  };
}
