// Clients of streams: publishers whose batches are repeated until they are answered, a reader, and whoever
// looks at groups and moves them.
import { decodeBatch, encodeBatch } from '@flowmesh/protocol';
import {
  Group,
  PublishBatchReply,
  type PublishBatchReplyInput,
  PublishResponse,
  ReadResponse,
  SeekResponse,
} from '@flowmesh/protocol/gen/flowmesh.js';
import { aRecord, aSpec } from '../stream/support.ts';
import { PIPED } from './pipe-client.ts';
import { Client, caller } from './sim.ts';
import type { StreamBook } from './stream-book.ts';

export const STREAM = 'events';
export const PARTITIONS = 3;
export const GROUP = 'readers';
export const TX_STREAM = '{t0}events';

export class Publisher extends Client {
  #made = 0;

  async declare(): Promise<void> {
    for (const [name, partitions] of [
      [STREAM, PARTITIONS],
      [TX_STREAM, 1],
    ] as const) {
      const spec = aSpec(name, partitions);
      const outcome = await this.until(`declare ${name}`, (fabric) => fabric.admin.applyStream(caller, spec));
      if (outcome.kind === 'refused') this.sim.broken('a good request is served', outcome.error.message);
    }
  }

  async run(book: StreamBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(1, 120);
      await (this.chance.hit(0.5) ? this.#batch(book) : this.#records(book));
    }
  }

  #values(book: StreamBook): string[] {
    return Array.from({ length: this.chance.int(1, 4) }, () => {
      const value = `${this.name}.${++this.#made}${'z'.repeat(this.chance.hit(0.05) ? 1500 : 0)}`;
      book.begin(value);
      return value;
    });
  }

  /** The stream of batches that the SDK uses. */
  async #batch(book: StreamBook): Promise<void> {
    const partition = this.chance.int(0, PARTITIONS - 1);
    const values = this.#values(book);
    const { ackedEnd } = book.partition(STREAM, partition);
    const mutation = this.mutation();
    for (;;) {
      const outcome = await this.once(`publish ${partition} ${values.length}`, async (fabric) => {
        const batch = encodeBatch(values.map((value) => ({ value: Buffer.from(value) })));
        const request = { stream: STREAM, partition, batch, mutation, afterSeq: 0, partial: false };
        const reply = await new Promise<PublishBatchReplyInput>((resolve) => {
          fabric.streams.publishBatch({ ...caller }, request, resolve);
        });
        return PublishBatchReply.decode(PublishBatchReply.encode(reply).finish());
      });
      if (outcome.kind === 'done' && outcome.value.error === null) {
        const { firstOffset, count } = outcome.value;
        this.sim.expect(count === values.length, 'each record has an answer', () => `${count} of ${values}`);
        values.forEach((value, i) => {
          book.acked(STREAM, partition, firstOffset + i, value, ackedEnd);
        });
        return;
      }
      const code = outcome.kind === 'done' ? outcome.value.error?.code : '';
      if (code !== '' && code !== 'UNAVAILABLE' && code !== 'DISK_FULL') {
        this.sim.broken('a good request is served', `publish: ${code}`);
        return;
      }
      await this.pause(10, 500);
    }
  }

  /** Records for several partitions in one request. */
  async #records(book: StreamBook): Promise<void> {
    const made = this.#values(book).map((value) => ({
      value,
      partition: this.chance.int(0, PARTITIONS - 1),
    }));
    const before = made.map(({ partition }) => book.partition(STREAM, partition).ackedEnd);
    const records = made.map(({ value, partition }) => aRecord(value, { partition }));
    const request = { stream: STREAM, records, mutation: this.mutation() };
    const outcome = await this.until(`publish all ${made.length}`, async (fabric) => {
      const reply = await fabric.streams.publish(caller, request);
      return PublishResponse.decode(PublishResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return this.sim.broken('a good request is served', outcome.error.message);
    made.forEach(({ value, partition }, i) => {
      const place = outcome.value.offsets[i];
      this.sim.expect(place?.partition === partition, 'a record goes where it was sent', () => value);
      book.acked(STREAM, partition, place?.offset ?? -1, value, before[i] ?? 0);
    });
  }
}

export class Reader extends Client {
  async run(book: StreamBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(50, 300);
      const partition = this.chance.int(0, PARTITIONS - 1);
      const { ackedEnd } = book.partition(STREAM, partition);
      if (this.chance.hit(0.4)) await this.look(book);
      else if (this.chance.hit(0.15)) await this.#seek(book, partition, ackedEnd);
      else await this.#read(book, partition, this.chance.int(0, ackedEnd), ackedEnd);
    }
  }

  async #read(book: StreamBook, partition: number, offset: number, ackedEnd: number): Promise<void> {
    const page = await this.#page(STREAM, partition, offset, false);
    if (page === null) return;
    const how = () => `${STREAM} ${partition} ends at ${page.endOffset}, ${ackedEnd} was acknowledged`;
    this.sim.expect(page.endOffset >= ackedEnd, 'what is acknowledged can be read', how);
    page.records.forEach((record, i) => {
      const dense = () => `${record.offset} is record ${i} from ${offset} on`;
      this.sim.expect(record.offset === offset + i, 'offsets are dense', dense);
      book.saw(STREAM, partition, record.offset, record.value.toString());
    });
  }

  async #page(stream: string, partition: number, offset: number, isNeeded: boolean) {
    const request = { stream, partition, offset, timestampMs: null, max: 100, from: 'offset' } as never;
    const ask: Parameters<typeof this.once<ReadResponse>>[1] = async (fabric) => {
      const reply = await fabric.streams.read(caller, request);
      return ReadResponse.decode(ReadResponse.encode(reply).finish());
    };
    const what = `read ${stream} ${partition} ${offset}`;
    const outcome = isNeeded ? await this.until(what, ask) : await this.once(what, ask);
    if (outcome.kind === 'refused' && outcome.error.code === 'OFFSET_OUT_OF_RANGE') {
      this.sim.broken('what is acknowledged can be read', `${what}: ${outcome.error.message}`);
    }
    return outcome.kind === 'done' ? outcome.value : null;
  }

  /** Where the group stands; null: not known. */
  async look(book: StreamBook): Promise<number | null> {
    const begin = this.sim.order();
    const outcome = await this.once('group', async (fabric) => {
      const reply = await fabric.streams.getGroup(caller, { stream: STREAM, group: GROUP });
      return Group.decode(Group.encode(reply).finish());
    });
    if (outcome.kind !== 'done') return null;
    const end = this.sim.order();
    for (const { partition, committed } of outcome.value.partitions) {
      book.move(GROUP, partition, { begin, end, op: { do: 'read', offset: committed } });
    }
    return outcome.value.lag;
  }

  async #seek(book: StreamBook, partition: number, ackedEnd: number): Promise<void> {
    const offset = this.chance.int(0, ackedEnd);
    const begin = this.sim.order();
    book.sent(GROUP, partition, offset);
    const to = { offset, timestampMs: null, position: null, to: 'offset' };
    const request = { stream: STREAM, group: GROUP, partition, ...to, mutation: this.mutation() } as never;
    const outcome = await this.until(`seek ${partition} ${offset}`, async (fabric) => {
      const reply = await fabric.streams.seek(caller, request);
      return SeekResponse.decode(SeekResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return this.sim.broken('a good request is served', outcome.error.message);
    book.move(GROUP, partition, { begin, end: this.sim.order(), op: { do: 'write', offset } });
  }

  /** All of it, from the start, in the end. */
  async check(book: StreamBook): Promise<void> {
    for (const [stream, partitions] of [
      [STREAM, PARTITIONS],
      [TX_STREAM, 1],
      [PIPED, 1],
    ] as const) {
      for (let partition = 0; partition < partitions; partition++) {
        const values: string[] = [];
        for (;;) {
          const page = await this.#page(stream, partition, values.length, true);
          if (page === null || page.records.length === 0) break;
          page.records.forEach((record) => {
            const dense = () => `${record.offset} follows ${values.length - 1}`;
            this.sim.expect(record.offset === values.length, 'offsets are dense', dense);
            values.push(record.value.toString());
          });
        }
        book.checkAll(stream, partition, values);
      }
    }
  }
}

/** Records of a chunk as [offset, value]. */
export function recordsIn(bytes: Buffer): [number, string][] {
  const records: [number, string][] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at)) {
    for (const { offset, value } of decodeBatch(bytes, at))
      records.push([offset, Buffer.from(value ?? []).toString()]);
  }
  return records;
}
