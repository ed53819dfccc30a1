// Random lives of an embedded journal on a disk that forgets what was not synced.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type EmbeddedJournal, openEmbeddedJournal } from '../../dataplane/journal/embedded.ts';
import { JournalFull } from '../../dataplane/journal/journal.ts';
import { seeded } from '../support/seeded.ts';
import { FakeDisk, ioError } from './fake-disk.ts';

/** What happens while the appends of a burst are on their way, so many operations of the disk into it. */
interface End {
  readonly kind: 'none' | 'reopen' | 'kill' | 'power' | 'eio';
  readonly after: number;
  /** Share of the unsynced sectors that a power loss leaves. */
  readonly survival: number;
}

interface Burst {
  readonly sizes: readonly number[];
  readonly isDiskFull: boolean;
  /** Trims so many entries behind the last one; undefined: does not trim. */
  readonly trim: number | undefined;
  readonly end: End;
  /** The power goes again, so many operations into the recovery. */
  readonly again: number | undefined;
}

const burst: fc.Arbitrary<Burst> = fc.record({
  sizes: fc.array(fc.oneof(fc.nat(80), fc.constant(600), fc.nat(1500), fc.constant(5000)), { maxLength: 6 }),
  trim: fc.option(fc.nat(8), { nil: undefined }),
  isDiskFull: fc.nat(3).map((n) => n === 0),
  end: fc.record({
    kind: fc.constantFrom<End['kind']>('none', 'reopen', 'kill', 'power', 'eio'),
    after: fc.nat(14),
    survival: fc.constantFrom(0, 0.5, 1),
  }),
  again: fc.option(fc.nat(30), { nil: undefined }),
});

const lives = fc.record({ bursts: fc.array(burst, { minLength: 1, maxLength: 12 }), seed: fc.nat() });

const property = (ignores: FakeDisk['ignores']) =>
  fc.asyncProperty(lives, async ({ bursts, seed }) => {
    const world = new World(seed, ignores);
    await world.open();
    for (const each of bursts) await world.live(each);
    await world.reopen();
  });

test('[J1] [J2] no crash takes an acknowledged entry', async () => {
  await fc.assert(
    property(() => false),
    { numRuns: 300 },
  );
});

test.each<[string, FakeDisk['ignores']]>([
  ['no segment is synced', (operation, path) => operation === 'sync' && !path.endsWith('owner')],
  ['the directory is not synced', (operation) => operation === 'syncDirectory'],
])('finds the loss when %s', async (_, ignores) => {
  const { failed, errorInstance } = await fc.check(property(ignores), { numRuns: 300, endOnFailure: true });
  expect(failed).toBe(true);
  expect(String(errorInstance)).toMatch(/lost|missing|damaged/);
});

/** A journal, and what it owes its owner. */
class World {
  readonly #disk = new FakeDisk();
  readonly #random: () => number;
  #journal: EmbeddedJournal | undefined;
  #epoch = 0;
  #nowMs = 0;
  #acknowledged = 0;
  #trimmed = 0;
  /** Last payload handed in for each sequence. */
  readonly #texts: string[] = [];
  #onFatal: (error: unknown) => void = () => {};

  constructor(seed: number, ignores: FakeDisk['ignores']) {
    this.#random = seeded(seed);
    this.#disk.ignores = ignores;
  }

  async open(): Promise<void> {
    const journal = await this.#openJournal();
    const { first, last } = journal.tail();
    if (last < this.#acknowledged)
      throw new Error(`lost: ${this.#acknowledged} was acknowledged, ${last} is there`);
    if (first > this.#trimmed + 1)
      throw new Error(`lost: ${this.#trimmed} was trimmed, ${first} is the first`);
    let next = first;
    for await (const { seq, payload } of journal.read(first)) {
      expect(seq).toBe(next++);
      expect(payload.toString()).toBe(this.#texts[seq]);
    }
    expect(next).toBe(last + 1);
    this.#acknowledged = last;
    // What was cut is over: it must not come back behind newer entries.
    this.#texts.length = last + 1;
    const epoch = await journal.fence();
    if (epoch <= this.#epoch) throw new Error(`lost: epoch ${this.#epoch} was given out, now ${epoch}`);
    this.#epoch = epoch;
    this.#journal = journal;
  }

  async reopen(): Promise<void> {
    await this.#journal?.close();
    await this.open();
  }

  async live({ sizes, isDiskFull, trim, end, again }: Burst): Promise<void> {
    this.#disk.capacityBytes = isDiskFull ? 0 : Number.POSITIVE_INFINITY;
    const dead = this.#death(end);
    await Promise.race([dead, this.#work(sizes, trim)]);
    this.#disk.before = () => {};
    if (end.kind === 'none') return;
    if (end.kind === 'reopen') return this.reopen();
    this.#disk.kill();
    if (end.kind === 'power') this.#disk.losePower(this.#random, end.survival);
    if (again !== undefined) {
      const darkAgain = this.#disk.powerLossAfter(again);
      await Promise.race([darkAgain, this.#openJournal()]);
      this.#disk.losePower(this.#random, end.survival);
    }
    await this.open();
  }

  /** Resolves when the process has come to its end; never, if it does not. */
  #death({ kind, after }: End): Promise<unknown> {
    if (kind === 'kill' || kind === 'power') return this.#disk.powerLossAfter(after);
    return new Promise((resolve) => {
      this.#onFatal = resolve;
      let left = after;
      this.#disk.before = (operation) => {
        if (kind === 'eio' && operation === 'sync' && left-- === 0) throw ioError('EIO');
      };
    });
  }

  async #work(sizes: readonly number[], trim: number | undefined): Promise<void> {
    const journal = this.#journal;
    if (journal === undefined) return;
    const first = journal.tail().last + 1;
    const appends = sizes.map(async (size, index) => {
      const seq = first + index;
      const text = `${seq} in epoch ${this.#epoch} `.padEnd(size, '.');
      this.#texts[seq] = text;
      await journal.append(
        { timeMs: seq, payload: [Buffer.from(text)] },
        { expect: seq, fence: this.#epoch },
      );
      this.#acknowledged = seq;
    });
    for (const end of await Promise.allSettled(appends)) {
      if (end.status === 'fulfilled' || end.reason instanceof JournalFull) continue;
      if (journal.state() !== 'failed') throw end.reason;
    }
    if (trim === undefined || journal.state() === 'failed') return;
    this.#trimmed = Math.max(this.#trimmed, journal.tail().last - trim);
    await journal.trim(this.#trimmed);
  }

  async #openJournal(): Promise<EmbeddedJournal> {
    // Before it is made anew, which would hide the loss, or find no room.
    if (this.#epoch > 0 && !this.#disk.paths().includes('/journal/owner'))
      throw new Error('lost: the owner file');
    return openEmbeddedJournal({
      dir: '/journal',
      files: this.#disk,
      segmentBytes: 4096,
      historyBytes: 8192,
      nowMs: () => (this.#nowMs += 400),
      onFatal: (error) => this.#onFatal(error),
    });
  }
}
