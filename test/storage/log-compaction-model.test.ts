// Cleaning against a list of everything ever appended: whatever is cleaned, trimmed, saved and crashed,
// what is gone was allowed to go, and what is there is what was appended.
import { encodeBatch, patchHead } from '@flowmesh/protocol';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { CompactionTerms } from '../../dataplane/storage/contract.ts';
import { LogStore, type StoredLength } from '../../dataplane/storage/log-store.ts';
import { FaultFiles } from './fault-files.ts';
import { type LogRecord, recordsOf } from './support.ts';

const RETENTION_MS = 50;

type Step =
  | { readonly do: 'append'; readonly keys: readonly number[]; readonly laterMs: number }
  | { readonly do: 'checkpoint' | 'capture' | 'finish' | 'reopen' | 'die' }
  | {
      readonly do: 'clean';
      readonly with: 'none' | 'reads' | 'trim' | 'stop' | 'crash';
      readonly at: number;
      readonly keyBytes: number;
      readonly lagMs: number;
    }
  | { readonly do: 'crash'; readonly luck: number }
  | { readonly do: 'trim'; readonly by: number }
  | { readonly do: 'wait'; readonly ms: number };

const append: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('append'),
  // 0: no key; odd ones delete.
  keys: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 }),
  laterMs: fc.nat({ max: 3 }),
}) as fc.Arbitrary<Step>;
const clean: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('clean'),
  with: fc.constantFrom('none', 'none', 'reads', 'trim', 'stop', 'crash'),
  at: fc.nat({ max: 6 }),
  keyBytes: fc.constantFrom(1, 150, 1_000_000),
  lagMs: fc.constantFrom(0, 0, 5),
}) as fc.Arbitrary<Step>;
const script = fc.array(
  fc.oneof(
    { weight: 10, arbitrary: append },
    { weight: 5, arbitrary: clean },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constantFrom('checkpoint', 'checkpoint', 'capture', 'finish') }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('reopen', 'die') }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('crash'), luck: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('trim'), by: fc.nat({ max: 6 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('wait'), ms: fc.constantFrom(1, RETENTION_MS) }) },
  ) as fc.Arbitrary<Step>,
  { minLength: 20, maxLength: 80, size: 'max' },
);

interface Saved {
  readonly end: number;
  readonly lengths: StoredLength[];
  readonly present: LogRecord[];
}

class Model {
  readonly #files = new FaultFiles();
  readonly #segmentBytes: number;
  #store!: LogStore;
  #lengths: StoredLength[] = [];
  #saved: Saved = { end: 0, lengths: [], present: [] };
  #captured: Saved | null = null;
  /** Everything that was appended and not taken back by a crash. */
  #all: LogRecord[] = [];
  /** Of each tombstone, when a cleaning may have marked it first. */
  #marks = new Map<number, number>();
  #nowMs = 1000;
  cleaned = 0;

  constructor(segmentBytes: number) {
    this.#segmentBytes = segmentBytes;
  }

  get #log() {
    return this.#store.open(1);
  }

  async run(steps: readonly Step[]): Promise<void> {
    await this.#open();
    for (const step of steps) {
      await this.#step(step);
      await this.#check();
    }
    await this.#store.close();
  }

  async #open(): Promise<void> {
    const small = { tailBytesMax: 600, loadBytesMax: 600 };
    const options = { dir: '/logs', files: this.#files, segmentBytes: this.#segmentBytes, ...small };
    this.#store = await LogStore.open({ ...options, lengths: this.#lengths });
  }

  async #step(step: Step): Promise<void> {
    switch (step.do) {
      case 'append':
        this.#nowMs += step.laterMs;
        return this.#append(step.keys);
      case 'capture':
        if (this.#captured === null) await this.#capture();
        return;
      case 'finish':
        if (this.#captured !== null) await this.#finish();
        return;
      case 'checkpoint':
        if (this.#captured === null) await this.#capture();
        return this.#finish();
      case 'reopen':
      case 'die':
        if (this.#captured === null) await this.#capture();
        await this.#finish(step.do === 'reopen');
        return this.#crash(0);
      case 'crash':
        return this.#crash(step.luck);
      case 'trim':
        this.#log.trimTo(this.#log.startOffset + step.by);
        return;
      case 'wait':
        this.#nowMs += step.ms;
        return;
      case 'clean':
        return this.#clean(step);
    }
  }

  #append(keys: readonly number[]): void {
    const base = this.#log.endOffset;
    const records = keys.map((n, i) => {
      const isTombstone = n % 2 === 1;
      const key = n === 0 ? '' : `key-${n >> 1}`;
      const text = isTombstone ? key : `${key}=${base + i}`;
      return { offset: base + i, timeMs: this.#nowMs, key, isTombstone, text };
    });
    const batch = encodeBatch(
      records.map(({ key, text, isTombstone }) => ({
        key: key === '' ? undefined : Buffer.from(key),
        value: isTombstone ? null : Buffer.from(text.slice(key.length + 1)),
      })),
    );
    patchHead(batch, base, this.#nowMs);
    this.#log.append(batch, keys.length, this.#nowMs);
    this.#all.push(...records);
  }

  async #capture(): Promise<void> {
    const present = await recordsOf(this.#log);
    const [length] = this.#store.captureLengths();
    const lengths = length === undefined ? this.#lengths : [length];
    this.#captured = { end: this.#log.endOffset, lengths, present };
  }

  /** Else the process dies before it has deleted what is no longer counted on. */
  async #finish(deletes = true): Promise<void> {
    if (this.#captured === null) return;
    await this.#store.syncTo(this.#captured.lengths);
    this.#lengths = this.#captured.lengths;
    this.#saved = this.#captured;
    this.#captured = null;
    if (deletes) await this.#store.applyDeletes();
  }

  async #crash(luck: number): Promise<void> {
    await this.#store.close();
    let file = 0;
    await this.#files.crash(() => ((luck >> (file++ % 30)) & 1) === 1);
    await this.#open();
    this.#captured = null;
    this.#all = this.#all.filter(({ offset }) => offset < this.#saved.end);
    expect(await recordsOf(this.#log)).toEqual(this.#saved.present);
    // A name of a file that nobody counts on is gone.
    for (const name of await this.#files.list('/logs/1')) expect(name).toMatch(/^\d{16}(-\d+)?\.log$/);
  }

  async #clean(step: Step & { do: 'clean' }): Promise<void> {
    let paces = 0;
    let isStopped = false;
    let hang: () => void = () => {};
    const hangs = new Promise<void>((resolve) => {
      hang = resolve;
    });
    const terms: CompactionTerms = {
      nowMs: this.#nowMs,
      limit: this.#log.endOffset,
      untilMs: this.#nowMs - step.lagMs,
      tombstoneRetentionMs: RETENTION_MS,
      keyBytesMax: step.keyBytes,
      isStopped: () => isStopped,
      pace: async () => {
        if (paces++ !== step.at) return;
        if (step.with === 'stop') isStopped = true;
        if (step.with === 'trim') this.#log.trimTo(this.#log.startOffset + 3);
        if (step.with !== 'crash') return;
        hang();
        await new Promise(() => {});
      },
    };
    for (const { offset, isTombstone } of this.#all) {
      if (isTombstone && !this.#marks.has(offset)) this.#marks.set(offset, this.#nowMs);
    }
    this.#log.isCompactionDue(terms);
    const running = this.#log.compact(terms);
    this.cleaned++;
    if (step.with === 'reads') await Promise.all([running, this.#check(), this.#check()]);
    else if (step.with === 'crash') {
      await Promise.race([running, hangs]);
      if (paces > step.at) await this.#crash(step.at * 7919);
    } else await running;
  }

  async #check(): Promise<void> {
    const log = this.#log;
    const present = await recordsOf(log);
    const byOffset = new Map(this.#all.map((each) => [each.offset, each]));
    for (const record of present) expect(record).toEqual(byOffset.get(record.offset));
    const there = new Set(present.map(({ offset }) => offset));
    const newest = new Map<string, LogRecord>();
    for (const record of this.#all) if (record.key !== '') newest.set(record.key, record);
    for (const record of this.#all) {
      if (there.has(record.offset) || record.offset < log.startOffset) continue;
      // Gone: something newer of its key is to follow, or its time as a tombstone was up.
      expect(record.key).not.toBe('');
      if (newest.get(record.key) !== record) continue;
      expect(record.isTombstone).toBe(true);
      expect(this.#marks.get(record.offset) ?? Number.POSITIVE_INFINITY).toBeLessThanOrEqual(
        this.#nowMs - RETENTION_MS,
      );
      // And nothing that it had deleted comes back.
      expect(present.filter(({ key }) => key === record.key)).toEqual([]);
    }
    const last = this.#all.at(-1);
    if (last !== undefined && last.offset >= log.startOffset) expect(there.has(last.offset)).toBe(true);
    for (const timeMs of new Set([this.#nowMs, this.#nowMs - 3, present[0]?.timeMs ?? 0])) {
      const first = present.find((each) => each.timeMs >= timeMs);
      expect(await log.offsetAt(timeMs)).toBe(first?.offset ?? log.endOffset);
    }
  }
}

test('[ST58] cleaned logs hold what they must, whatever trims, stops, restarts and crashes do', async () => {
  let cleaned = 0;
  await fc.assert(
    fc.asyncProperty(script, fc.constantFrom(150, 400, 5000), async (steps, segmentBytes) => {
      const model = new Model(segmentBytes);
      await model.run(steps);
      cleaned += model.cleaned;
    }),
    { numRuns: 300, endOnFailure: true },
  );
  expect(cleaned).toBeGreaterThan(100);
});
