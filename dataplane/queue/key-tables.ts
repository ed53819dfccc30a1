// Rows of queues whose jobs wait by limit key. A waiting key costs rows, not memory: only keys whose turn is
// near are resident (key-turns.ts).
//   KEYED   ready jobs by (limit key, priority, offset)
//   RING    limit keys that may have a job to give. Put blindly whenever that may have changed; taken out by
//           whoever finds that there is none, or that the key is at a limit
//   PARKED  limit keys that are at their rate, by (time of the next token, key)
//   BUCKET  token bucket of a limit key; BUCKET_FULL: when it is full and can go, by minute
import type { Table } from '../storage/contract.ts';
import { part, u32be, u53be } from '../storage/keys.ts';
import { decodeMeta, encodeMeta, type JobMeta, tablePrefix } from './tables.ts';

const presence = (id: number, name: string): Table<true> => ({
  id,
  name,
  encode: () => {},
  decode: () => true,
});

export const KEYED: Table<JobMeta> = { id: 60, name: 'keyed', encode: encodeMeta, decode: decodeMeta };
export const RING = presence(61, 'ring');
export const PARKED = presence(62, 'parked');
export const BUCKET: Table<number> = {
  id: 63,
  name: 'bucket',
  encode: (v, w) => w.varint(v),
  decode: (r) => r.varint(),
};
export const BUCKET_FULL = presence(64, 'bucket-full');

const SLOT_MS = 60_000;

/** The minute by whose end a bucket is full. */
export const slotOf = (fullAtUs: number): number => Math.ceil(fullAtUs / 1000 / SLOT_MS) * SLOT_MS;

/** Key prefixes of one queue generation. Buckets outlive a purge. */
export class LimitKeys {
  readonly #tenant: number;
  readonly #queue: string;
  readonly bucket: string;
  keyed = '';
  ring = '';
  parked = '';

  constructor(tenant: number, queueNo: number, generation: number) {
    this.#tenant = tenant;
    this.#queue = u32be(queueNo);
    this.bucket = tablePrefix(tenant, BUCKET) + this.#queue;
    this.setGeneration(generation);
  }

  setGeneration(generation: number): void {
    const rest = this.#queue + u32be(generation);
    this.keyed = tablePrefix(this.#tenant, KEYED) + rest;
    this.ring = tablePrefix(this.#tenant, RING) + rest;
    this.parked = tablePrefix(this.#tenant, PARKED) + rest;
  }

  jobsOf = (limitKey: string): string => this.keyed + part(limitKey);
  jobKey = (limitKey: string, offset: number, priority: number): string =>
    this.jobsOf(limitKey) + String.fromCharCode(255 - priority) + u53be(offset);
  ringKey = (limitKey: string): string => this.ring + part(limitKey);
  parkedKey = (limitKey: string, untilMs: number): string => this.parked + u53be(untilMs) + part(limitKey);
  bucketKey = (limitKey: string): string => this.bucket + part(limitKey);
  bucketFullKey = (limitKey: string, slotMs: number): string =>
    tablePrefix(this.#tenant, BUCKET_FULL) + u53be(slotMs) + this.#queue + part(limitKey);
}
