// Cleaning by key: what stays, what goes, and that nobody who reads sees a gap as an error.
import { encodeBatch, patchHead, readEntries, readHead, validateBatch } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import type { CompactionTerms } from '../../dataplane/storage/contract.ts';
import { LogStore, type StoredLength } from '../../dataplane/storage/log-store.ts';
import type { SegmentedLog } from '../../dataplane/storage/partition-log.ts';
import { FaultFiles } from './fault-files.ts';
import { recordsOf } from './support.ts';

const DAY_MS = 86_400_000;

class Bed {
  readonly files = new FaultFiles();
  readonly segmentBytes: number;
  store!: LogStore;
  lengths: StoredLength[] = [];
  nowMs = 1000;

  private constructor(segmentBytes: number) {
    this.segmentBytes = segmentBytes;
  }

  static async open(segmentBytes: number): Promise<Bed> {
    const bed = new Bed(segmentBytes);
    await bed.reopen();
    return bed;
  }

  async reopen(): Promise<void> {
    const { files, lengths, segmentBytes } = this;
    this.store = await LogStore.open({ dir: '/logs', files, lengths, segmentBytes });
  }

  get log(): SegmentedLog {
    return this.store.open(1);
  }

  /** One batch a call: 'key=value', 'key' for a tombstone, '=value' without a key. */
  append(...texts: string[]): void {
    const batch = encodeBatch(
      texts.map((text) => {
        const [key = '', value] = text.split('=');
        return {
          key: key === '' ? undefined : Buffer.from(key),
          value: value === undefined ? null : Buffer.from(value),
        };
      }),
    );
    patchHead(batch, this.log.endOffset, this.nowMs);
    this.log.append(batch, texts.length, this.nowMs);
  }

  async checkpoint(): Promise<void> {
    const captured = this.store.captureLengths();
    await this.store.syncTo(captured);
    if (captured.length > 0) this.lengths = [...captured];
    await this.store.applyDeletes();
  }

  terms(more: Partial<CompactionTerms> = {}): CompactionTerms {
    return {
      nowMs: this.nowMs,
      limit: this.log.endOffset,
      untilMs: this.nowMs,
      tombstoneRetentionMs: DAY_MS,
      pace: async () => {},
      isStopped: () => false,
      ...more,
    };
  }

  async clean(more: Partial<CompactionTerms> = {}): Promise<boolean> {
    await this.checkpoint();
    return this.log.compact(this.terms(more));
  }

  read(): Promise<string[]> {
    return recordsOf(this.log).then((all) => all.map(({ offset, text }) => `${offset}:${text}`));
  }
}

test('of each key the last record stays; offsets, times and the open segment do not change', async () => {
  const bed = await Bed.open(400);
  bed.append('a=1', 'b=1', 'a=2');
  bed.nowMs = 2000;
  bed.append('c=1', '=free', 'b=2');
  bed.nowMs = 3000;
  for (let i = 0; i < 8; i++) bed.append(`a=${3 + i}`);
  await bed.clean();
  const [first] = await bed.read();
  expect(first).toBe('3:c=1');
  const all = await bed.read();
  expect(all).toContain('4:=free');
  expect(all).toContain('5:b=2');
  expect(all.at(-1)).toBe('13:a=10');
  expect(bed.log.startOffset).toBe(0);
  expect(await bed.log.offsetAt(0)).toBe(3);
  expect(await bed.log.offsetAt(2000)).toBe(3);
  expect(await bed.log.offsetAt(2001)).toBe(Number(all[3]?.split(':')[0]));
  expect(await bed.log.offsetAt(9000)).toBe(14);
});

test('a log of one key keeps a bounded number of files and bytes', async () => {
  const bed = await Bed.open(2000);
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 100; i++) bed.append(`k${i % 5}=${round}`);
    await bed.clean();
  }
  await bed.checkpoint();
  const names = await bed.files.list('/logs/1');
  expect(names.length).toBeLessThan(6);
  expect(bed.log.byteLength).toBeLessThan(5000);
  expect((await bed.read()).length).toBeLessThan(60);
});

test('a tombstone stays for its time after it was first cleaned, and nothing older comes back', async () => {
  const bed = await Bed.open(200);
  bed.append('a=1', 'b=1');
  bed.append('a');
  for (let i = 0; i < 6; i++) bed.append(`c=${i}`);
  bed.nowMs += 100 * DAY_MS; // Old, but nobody has cleaned yet.
  await bed.clean();
  expect(await bed.read()).toContain('2:a');
  expect(await bed.read()).not.toContain('0:a=1');
  bed.nowMs += DAY_MS - 1;
  expect(bed.log.isCompactionDue(bed.terms())).toBe(false);
  await bed.clean();
  await bed.checkpoint();
  await bed.reopen();
  expect(await bed.read()).toContain('2:a');
  bed.nowMs += 1;
  expect(bed.log.isCompactionDue(bed.terms())).toBe(true);
  await bed.clean();
  const all = await bed.read();
  expect(all.filter((each) => each.includes(':a'))).toEqual([]);
  expect(all).toContain('1:b=1');
  expect(bed.log.isCompactionDue(bed.terms())).toBe(false);
});

test('keys that do not fit into memory are for further passes', async () => {
  const bed = await Bed.open(1000);
  for (let round = 0; round < 3; round++) for (let i = 0; i < 100; i++) bed.append(`key-${i}=${round}`);
  bed.append('z=1');
  let passes = 1;
  while (await bed.clean({ keyBytesMax: 1000 })) passes++;
  expect(passes).toBeGreaterThan(10);
  const values = (await bed.read()).map((each) => each.split(':')[1]);
  // The last keys are in the segment that is being filled.
  const cleaned = values.filter((text) => Number(/key-(\d+)/.exec(text ?? '')?.[1]) < 70);
  expect(new Set(cleaned).size).toBe(70);
  expect(cleaned.filter((text) => text?.endsWith('=2'))).toHaveLength(70);
  expect(cleaned).toHaveLength(70);
  expect(values.length).toBeLessThan(130);
});

test('what is young or not durable stays as it is', async () => {
  const bed = await Bed.open(200);
  for (let i = 0; i < 10; i++) bed.append(`a=${i}`);
  await bed.clean({ untilMs: 999 });
  expect(await bed.read()).toHaveLength(10);
  await bed.clean({ limit: 4 });
  expect((await bed.read()).slice(-6)).toEqual([4, 5, 6, 7, 8, 9].map((i) => `${i}:a=${i}`));
});

test('readers of old files go on while a cleaning replaces them and a checkpoint deletes them', async () => {
  const bed = await Bed.open(300);
  for (let i = 0; i < 60; i++) bed.append(`k${i % 3}=${i}`);
  await bed.checkpoint();
  await bed.reopen();
  const readers = Array.from({ length: 20 }, async () => {
    for (let i = 0; i < 5; i++) {
      const texts = await bed.read();
      expect(texts).toEqual(expect.arrayContaining(['57:k0=57', '58:k1=58', '59:k2=59']));
    }
  });
  await bed.log.compact(bed.terms());
  await bed.checkpoint();
  await Promise.all(readers);
  expect((await bed.read()).length).toBeLessThan(20);
});

test('a read that began before a cleaning and its checkpoint ends well', async () => {
  const bed = await Bed.open(300);
  for (let i = 0; i < 30; i++) bed.append(`k${i % 3}=${i}`);
  await bed.checkpoint();
  await bed.reopen();
  let release = () => {};
  bed.files.hold = new Promise((resolve) => {
    release = resolve;
  });
  const reading = bed.log.load(3, 100);
  await bed.log.compact(bed.terms());
  await bed.checkpoint();
  release();
  expect((await reading).nextOffset).toBeGreaterThan(3);
});

test('a log ends in a record, be it a tombstone whose time is up', async () => {
  const bed = await Bed.open(1_000_000);
  bed.append('a=1', 'a');
  for (let day = 0; day < 3; day++) {
    bed.nowMs += DAY_MS;
    bed.log.isCompactionDue(bed.terms());
    await bed.clean();
    expect(await bed.read()).toEqual(['1:a']);
    expect(bed.log.isCompactionDue(bed.terms())).toBe(false);
  }
  bed.append(...Array.from({ length: 30 }, (_, i) => `b=${i}`));
  bed.nowMs += DAY_MS;
  bed.log.isCompactionDue(bed.terms());
  await bed.clean();
  expect(await bed.read()).toEqual(['31:b=29']);
});

test('a small log is cleaned too, once its segment is old enough to be ended', async () => {
  const bed = await Bed.open(1_000_000);
  for (let i = 0; i < 10; i++) bed.append('a=1');
  expect(bed.log.isCompactionDue(bed.terms())).toBe(false);
  await bed.clean();
  expect(await bed.read()).toHaveLength(10);
  bed.nowMs += 3_600_000;
  expect(bed.log.isCompactionDue(bed.terms())).toBe(false); // Ended now, and not synced yet.
  await bed.checkpoint();
  expect(bed.log.isCompactionDue(bed.terms())).toBe(true);
  await bed.clean();
  expect(await bed.read()).toEqual(['9:a=1']);
  bed.append('a=2');
  expect(await bed.read()).toEqual(['9:a=1', '10:a=2']);
  await bed.checkpoint();
  await bed.reopen();
  expect(await bed.read()).toEqual(['9:a=1', '10:a=2']);
});

test('damage is reported by the cleaning, not cleaned away', async () => {
  const bed = await Bed.open(200);
  for (let i = 0; i < 10; i++) bed.append(`a=${i}`);
  await bed.checkpoint();
  const [name] = (await bed.files.list('/logs/1')).sort();
  const file = await bed.files.open(`/logs/1/${name}`, 'existing');
  await file.write([Buffer.from('x')], 60);
  await expect(bed.log.compact(bed.terms())).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  expect((await bed.files.list('/logs/1')).filter((each) => each.includes('-'))).toEqual([]);
});

test('gaps and the mark of a cleaning are refused from clients', async () => {
  const bed = await Bed.open(200);
  for (let i = 0; i < 10; i++) bed.append('a');
  await bed.clean();
  const { bytes } = await bed.log.load(0, 1000);
  const head = readHead(bytes, 0, 'all');
  expect(head.gap).toBe(true);
  expect(readEntries(bytes, 0, head)).toEqual([]);
  expect(() => validateBatch(bytes.subarray(0, head.length))).toThrow(/gaps/);
  const marked = (await bed.log.load(7, 1000)).bytes;
  const one = Buffer.from(marked.subarray(0, readHead(marked).length));
  expect(() => validateBatch(one)).toThrow(/cleanedAtMs/);
});
