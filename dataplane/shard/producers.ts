// Idempotence of mutations. Owns each producer's last replies; a repeat of (producerId, seq) gets the stored
// reply.
//   P1. A reply is remembered in the same journal entry as the events it answers for.
//   P2. seq >= 1: a ring of the last REPLIES_MAX sequences, in memory; older ones are PRODUCER_FENCED, never
//       run again.
//   P3. seq = 0: the producer id itself is the key (HTTP Idempotency-Key); one row, kept KEY_TTL_MS.
//   P4. What names the sequence before it is refused with OUT_OF_ORDER unless that one is remembered: of a
//       pipeline nothing overtakes what was refused.
import { FlowError } from '@flowmesh/protocol';
import { type ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { RowRef, Table, Window } from '../storage/contract.ts';
import {
  after,
  part,
  readPart,
  readU32be,
  readU53be,
  textToByteString,
  u32be,
  u53be,
} from '../storage/keys.ts';
import type { Caller, Emit, Event, Moment, MutationId, View, ViewContext } from './state-machine.ts';

export const REPLIES_MAX = 1024;
/** An idle producer is forgotten; SDKs renew theirs long before. */
const IDLE_MS = 10 * 60_000;
const KEY_TTL_MS = 24 * 3_600_000;
const SWEEP_EVERY_MS = 60_000;
const SWEEP_MAX = 256;

const PRODUCED = 1;
const PRODUCERS_FORGOTTEN = 2;
const KEYS_FORGOTTEN = 3;

interface Stored {
  readonly seq: number;
  readonly timeMs: number;
  readonly reply: Buffer;
}

const SLOT: Table<Stored> = {
  id: 1,
  name: 'producer',
  encode: (v, w) => {
    w.varint(v.seq);
    w.varint(v.timeMs);
    w.bytes(v.reply);
  },
  decode: (r) => ({ seq: r.varint(), timeMs: r.varint(), reply: Buffer.from(r.bytes()) }),
};
const KEY: Table<Stored> = { ...SLOT, id: 2, name: 'idempotency-key' };
const KEY_EXPIRY: Table<true> = { id: 3, name: 'idempotency-expiry', encode: () => {}, decode: () => true };

interface Produced extends Event {
  readonly id: string;
  readonly seq: number;
  readonly reply: Uint8Array;
}

interface Forgotten extends Event {
  readonly ids: readonly string[];
}

interface Producer {
  high: number;
  lastMs: number;
  readonly slots: Map<number, Stored>;
  readonly dirty: Set<number>;
}

/** tenant + producer id as a byte string: producers of different tenants never meet. */
const identify = (caller: Caller, mutation: MutationId): string =>
  u32be(caller.tenant) + textToByteString(mutation.producerId);
const tableKey = (id: string, table: number, rest: string) =>
  id.slice(0, 4) + String.fromCharCode(table) + rest;
const slotKey = (id: string, slot: number) => tableKey(id, SLOT.id, part(id.slice(4)) + u32be(slot));
const idempotencyKey = (id: string) => tableKey(id, KEY.id, part(id.slice(4)));
const expiryKey = (id: string, timeMs: number) =>
  tableKey(id, KEY_EXPIRY.id, u53be(timeMs) + part(id.slice(4)));

export class Producers implements View {
  readonly name = 'producers';
  readonly events = [1, 7] as const;
  #context: ViewContext;
  #producers = new Map<string, Producer>();
  #gone: string[] = [];
  #expiry: Window<true>;
  #nextSweepMs = 0;
  /** Shard time of the first sweep of this life. */
  #sinceMs = 0;
  #writer = new ByteWriter(256);

  constructor(context: ViewContext, tenant: number) {
    this.#context = context;
    const prefix = u32be(tenant) + String.fromCharCode(KEY_EXPIRY.id);
    this.#expiry = context.rows.window(KEY_EXPIRY, prefix, after(prefix));
    this.#tenant = tenant;
  }
  readonly #tenant: number;

  async load(): Promise<void> {
    const prefix = u32be(this.#tenant) + String.fromCharCode(SLOT.id);
    let from = prefix;
    for (;;) {
      const rows = await this.#context.rows.scan(SLOT, { from, to: after(prefix), limit: 1000 });
      for (const { key, value } of rows) {
        const { bytes } = readPart(key, 5);
        this.#remember(key.slice(0, 4) + bytes, value).dirty.delete(readU32be(key, key.length - 4));
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < 1000) return;
      from = `${last.key}\0`;
    }
  }

  reads(): readonly RowRef[] {
    return [];
  }

  /** The row of an idempotency key (P3). */
  keyRef(caller: Caller, mutation: MutationId): RowRef {
    return { table: KEY, key: idempotencyKey(identify(caller, mutation)) };
  }

  /** The stored reply of a repeat; undefined: not seen yet, and it may be carried out now (P4). */
  lookup(caller: Caller, m: MutationId): Buffer | undefined {
    const id = identify(caller, m);
    if (m.seq === 0) return this.#context.rows.get(KEY, idempotencyKey(id))?.reply;
    const producer = this.#producers.get(id);
    const slot = producer?.slots.get(m.seq % REPLIES_MAX);
    if (slot?.seq === m.seq) return slot.reply;
    if (m.after !== undefined && producer?.slots.get(m.after % REPLIES_MAX)?.seq !== m.after) {
      throw new FlowError('OUT_OF_ORDER', `${m.seq} comes after ${m.after}, which was not carried out`);
    }
    if (producer !== undefined && m.seq <= producer.high - REPLIES_MAX) {
      throw new FlowError(
        'PRODUCER_FENCED',
        `sequence ${m.seq} is ${producer.high - m.seq} behind the newest; ${REPLIES_MAX} are remembered`,
      );
    }
    return undefined;
  }

  /** Remembers the reply of a mutation that has just been decided (P1). */
  remember(caller: Caller, mutation: MutationId, reply: Uint8Array, emit: Emit): void {
    emit({ type: PRODUCED, id: identify(caller, mutation), seq: mutation.seq, reply } as Produced);
  }

  decide(): unknown {
    throw new FlowError('INTERNAL', 'the producers view takes no commands');
  }
  encodeReply(): Uint8Array {
    return new Uint8Array();
  }
  decodeReply(): unknown {
    return undefined;
  }

  evolve(event: Event, at: Moment): void {
    if (event.type === PRODUCED) {
      const { id, seq, reply } = event as Produced;
      const stored = { seq, timeMs: at.nowMs, reply: Buffer.from(reply) };
      if (seq === 0) {
        this.#context.rows.put(KEY, idempotencyKey(id), stored);
        this.#context.rows.put(KEY_EXPIRY, expiryKey(id, at.nowMs + KEY_TTL_MS), true);
        return;
      }
      const slot = seq % REPLIES_MAX;
      const before = this.#producers.get(id)?.slots.get(slot);
      const producer = this.#remember(id, stored);
      this.#context.rows.onRollback(() => {
        if (before === undefined) producer.slots.delete(slot);
        else producer.slots.set(slot, before);
      });
    } else if (event.type === PRODUCERS_FORGOTTEN) {
      for (const id of (event as Forgotten).ids) {
        for (const slot of this.#producers.get(id)?.slots.keys() ?? []) this.#gone.push(slotKey(id, slot));
        this.#producers.delete(id);
      }
    } else {
      for (const id of (event as Forgotten).ids) {
        // Expiry rows name (time, id); the id is carried with its time in front.
        const timeMs = readU53be(id, 0);
        this.#context.rows.del(KEY_EXPIRY, expiryKey(id.slice(7), timeMs));
        this.#context.rows.del(KEY, idempotencyKey(id.slice(7)));
      }
    }
  }

  #remember(id: string, stored: Stored): Producer {
    let producer = this.#producers.get(id);
    if (producer === undefined) {
      producer = { high: 0, lastMs: 0, slots: new Map(), dirty: new Set() };
      this.#producers.set(id, producer);
    }
    const slot = stored.seq % REPLIES_MAX;
    producer.slots.set(slot, stored);
    producer.dirty.add(slot);
    if (stored.seq > producer.high) producer.high = stored.seq;
    if (stored.timeMs > producer.lastMs) producer.lastMs = stored.timeMs;
    return producer;
  }

  encode(event: Event, into: ByteWriter): void {
    if (event.type === PRODUCED) {
      const { id, seq, reply } = event as Produced;
      into.latin1(id);
      into.varint(seq);
      into.bytes(reply);
    } else {
      const { ids } = event as Forgotten;
      into.varint(ids.length);
      for (const id of ids) into.latin1(id);
    }
  }

  decode(type: number, from: ByteReader): Event {
    if (type === PRODUCED)
      return { type, id: from.latin1(), seq: from.varint(), reply: from.bytes() } as Produced;
    return { type, ids: Array.from({ length: from.varint() }, () => from.latin1()) } as Forgotten;
  }

  tick(at: Moment, emit: (event: Event) => void): void {
    if (at.nowMs < this.#nextSweepMs) return;
    this.#nextSweepMs = at.nowMs + SWEEP_EVERY_MS;
    // Nobody can renew a producer while the server is down, or see its clock move on meanwhile.
    if (this.#sinceMs === 0) this.#sinceMs = at.nowMs;
    const idle: string[] = [];
    for (const [id, producer] of this.#producers) {
      const lastMs = Math.max(producer.lastMs, this.#sinceMs);
      if (lastMs < at.nowMs - IDLE_MS && idle.push(id) >= SWEEP_MAX) break;
    }
    if (idle.length > 0) emit({ type: PRODUCERS_FORGOTTEN, ids: idle } as Forgotten);
    const due: string[] = [];
    for (const { key } of this.#expiry.take(SWEEP_MAX)) {
      const timeMs = readU53be(key, 5);
      if (timeMs > at.nowMs) break;
      due.push(u53be(timeMs) + key.slice(0, 4) + readPart(key, 12).bytes);
    }
    if (due.length > 0) emit({ type: KEYS_FORGOTTEN, ids: due } as Forgotten);
    // What cannot be read is asked for again at the next sweep.
    if (this.#expiry.isStale()) this.#expiry.refill().then(this.#context.wake, () => {});
    if (idle.length >= SWEEP_MAX || due.length >= SWEEP_MAX) this.#nextSweepMs = at.nowMs + 50;
  }

  wakeAtMs(): number {
    return this.#nextSweepMs;
  }

  flush(): void {
    for (const key of this.#gone) this.#context.rows.del(SLOT, key);
    this.#gone = [];
    for (const [id, producer] of this.#producers) {
      for (const slot of producer.dirty) {
        const stored = producer.slots.get(slot);
        if (stored === undefined) this.#context.rows.del(SLOT, slotKey(id, slot));
        else this.#context.rows.put(SLOT, slotKey(id, slot), stored);
      }
      producer.dirty.clear();
    }
  }

  /** Encodes a reply into a buffer of its own. */
  scratch(): ByteWriter {
    this.#writer.length = 0;
    return this.#writer;
  }
}
