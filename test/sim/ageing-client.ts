// Streams that forget: one by age, one by size, each with whoever writes to it and whoever reads behind.
import { PublishResponse, ReadResponse, Stream } from '@flowmesh/protocol/gen/flowmesh.js';
import { aRecord, aSpec } from '../stream/support.ts';
import { AgeingBook, type Extent, type Terms } from './ageing-book.ts';
import type { Chance } from './chance.ts';
import { Client, caller, type Sim } from './sim.ts';
import type { StreamBook } from './stream-book.ts';

const BRIEF = 'brief';
const SMALL = 'small';
const PAGE = 40;
/** Between two looks at what is left; the server looks at retention every ten seconds. */
const LOOK_MS = 2000;

export const ageingTerms = (chance: Chance): Terms[] => [
  { stream: BRIEF, retentionMs: chance.pick([500, 2000, 6000]), retentionBytes: 0 },
  { stream: SMALL, retentionMs: 0, retentionBytes: chance.pick([2, 8, 20]) * 1024 },
];

export class AgeingWriter extends Client {
  readonly #terms: Terms;
  #made = 0;

  constructor(sim: Sim, terms: Terms, chance: Chance) {
    super(sim, `writer of ${terms.stream}`, chance);
    this.#terms = terms;
  }

  async declare(): Promise<void> {
    const { stream, ...retention } = this.#terms;
    const spec = aSpec(stream, 1, retention);
    const outcome = await this.until(`declare ${stream}`, (fabric) => fabric.admin.applyStream(caller, spec));
    if (outcome.kind === 'refused') this.sim.broken('a good request is served', outcome.error.message);
  }

  async run(streams: StreamBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(5, 150);
      await this.#publish(streams);
    }
  }

  async #publish(streams: StreamBook): Promise<void> {
    const { stream } = this.#terms;
    const values = Array.from({ length: this.chance.int(1, 6) }, () => {
      const value = `${stream}.${++this.#made}${'z'.repeat(this.chance.int(0, 600))}`;
      streams.begin(value);
      return value;
    });
    const { ackedEnd } = streams.partition(stream, 0);
    const records = values.map((value) => aRecord(value, { partition: 0 }));
    const request = { stream, records, mutation: this.mutation() };
    const outcome = await this.until(`publish ${stream} ${values.length}`, async (fabric) => {
      const reply = await fabric.streams.publish(caller, request);
      return PublishResponse.decode(PublishResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return this.sim.broken('a good request is served', outcome.error.message);
    values.forEach((value, i) => {
      streams.acked(stream, 0, outcome.value.offsets[i]?.offset ?? -1, value, ackedEnd);
    });
  }
}

export class AgeingReader extends Client {
  readonly #book: AgeingBook;
  #next = 0;

  constructor(sim: Sim, terms: Terms, chance: Chance) {
    super(sim, `reader of ${terms.stream}`, chance);
    this.#book = new AgeingBook(sim, terms);
  }

  /** In order, now and then so slowly that it is overtaken. */
  async run(streams: StreamBook): Promise<void> {
    while (!this.sim.isClosing) {
      await (this.chance.hit(0.05) ? this.pause(1000, 9000) : this.think(10, 200));
      if (this.chance.hit(0.2)) await this.#look();
      else await this.#read(streams);
    }
  }

  /** What retention should take is taken, and all that is left is there. */
  async check(streams: StreamBook): Promise<void> {
    const { stream, retentionBytes } = this.#book.terms;
    const { logSegmentBytes } = this.sim.machine.options;
    // By age all of it goes; by size whole segments, and not the one that is written.
    const bytesMax = retentionBytes === 0 ? 0 : retentionBytes + 2 * logSegmentBytes;
    let extent = await this.#look();
    while (extent === null || extent.bytes > bytesMax) {
      await this.pause(LOOK_MS, LOOK_MS);
      extent = await this.#look();
    }
    this.#next = extent.start;
    while (this.#next < extent.end) await this.#read(streams);
    this.#book.measure(extent);
    streams.checkEnd(stream, 0, extent.end);
  }

  async #read(streams: StreamBook): Promise<void> {
    const { stream } = this.#book.terms;
    const offset = this.#next;
    const request = { stream, partition: 0, offset, timestampMs: null, max: PAGE, from: 'offset' } as never;
    const outcome = await this.once(`read ${stream} ${offset}`, async (fabric) => {
      const reply = await fabric.streams.read(caller, request);
      return ReadResponse.decode(ReadResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused' && outcome.error.code === 'OFFSET_OUT_OF_RANGE') {
      this.sim.count('reader overtaken');
      const extent = await this.#look();
      if (extent !== null) this.#next = Math.max(offset, extent.start);
    }
    if (outcome.kind !== 'done') return;
    for (const { offset: at, value, timestampMs } of outcome.value.records) {
      this.sim.expect(at === this.#next, 'a reader misses nothing unheard', () => `${at}, not ${this.#next}`);
      this.#next = at + 1;
      streams.saw(stream, 0, at, value.toString());
      this.#book.saw(at, { bytes: value.length, appendedMs: timestampMs });
    }
  }

  async #look(): Promise<Extent | null> {
    const { stream } = this.#book.terms;
    const outcome = await this.once(`extent ${stream}`, async (fabric) => {
      const reply = await fabric.admin.getStream(caller, { name: stream });
      return Stream.decode(Stream.encode(reply).finish());
    });
    const figures = outcome.kind === 'done' ? outcome.value.partitions[0] : undefined;
    if (figures === undefined) return null;
    const extent = { start: figures.logStart, end: figures.end, bytes: figures.bytes };
    this.#book.said(extent, this.sim.shardMs(stream));
    return extent;
  }
}
