// Clients of transactions: a key, a job and a record that come together or not at all, and jobs whose ack is
// one with what they did.
import {
  LeaseResponse,
  type TransactionOpInput,
  TransactionRequest,
  TransactionResponse,
} from '@flowmesh/protocol/gen/flowmesh.js';
import { ackOf, aJob } from '../queue/bench.ts';
import { aRecord } from '../stream/support.ts';
import { type Job, type JobBook, lastEpochOf } from './job-book.ts';
import { isDrained, TX_QUEUE, VISIBILITY_MS } from './job-client.ts';
import type { KvBook } from './kv-book.ts';
import { KvClient } from './kv-client.ts';
import { caller } from './sim.ts';
import type { StreamBook } from './stream-book.ts';
import { TX_STREAM } from './stream-client.ts';

interface Books {
  readonly kv: KvBook;
  readonly jobs: JobBook;
  readonly streams: StreamBook;
}

interface Made {
  readonly value: string;
  readonly job: Job;
  readonly isDone: boolean;
}

const DONE_KEY = '{t0}done';
const keyOf = (value: string) => `{t0}${value}`;
/** No key ever has it. */
const NO_REVISION = 2 ** 40;

export class TxClient extends KvClient {
  #no = 0;
  readonly made: Made[] = [];

  async runAll(books: Books): Promise<void> {
    while (!this.sim.isClosing || !isDrained(books.jobs, [TX_QUEUE])) {
      await this.think(5, 150);
      if (!this.sim.isClosing && this.chance.hit(0.5)) await this.#make(books);
      else await this.#work(books);
    }
  }

  async #commit(what: string, ops: readonly TransactionOpInput[]) {
    const request = TransactionRequest.encode({ ops, mutation: this.mutation() as never }).finish();
    return this.until(what, async (fabric) => {
      const reply = await fabric.transactions.commit(caller, TransactionRequest.decode(request));
      return TransactionResponse.decode(TransactionResponse.encode(reply).finish());
    });
  }

  async #make({ kv, jobs, streams }: Books): Promise<void> {
    const value = `${this.name}.${++this.#no}`;
    const isBad = this.chance.hit(0.25);
    const job = jobs.begin(TX_QUEUE.name, value, '');
    streams.begin(value);
    const set = { key: Buffer.from(keyOf(value)), value: Buffer.from(value) };
    const ops: TransactionOpInput[] = [
      { kv: { ops: [{ set }] } },
      { enqueue: { queue: TX_QUEUE.name, jobs: [aJob(value)] } },
      { publish: { stream: TX_STREAM, records: [aRecord(value, { partition: 0 })] as never } },
    ];
    // The last of a transaction that must not happen: all before it is taken back.
    if (isBad) ops.push({ kv: { ops: [{ set: { ...set, ifRevision: NO_REVISION } }] } });
    const { ackedEnd } = streams.partition(TX_STREAM, 0);
    const begin = this.sim.order();
    const outcome = await this.#commit(`transaction ${value}${isBad ? ' that fails' : ''}`, ops);
    const isDone = outcome.kind === 'done';
    this.made.push({ value, job, isDone });
    job.isAnswered = true;
    const told = () => `${value}: ${outcome.kind === 'refused' ? outcome.error.message : 'done'}`;
    this.sim.expect(isDone !== isBad, 'a transaction is refused when one of its parts is', told);
    if (outcome.kind !== 'done') return;
    const [set1, enqueued, published] = outcome.value.results;
    const revision = set1?.kv?.results[0]?.revision ?? 0;
    kv.add(keyOf(value), { begin, end: this.sim.order(), op: { do: 'set', value, revision } });
    jobs.accepted(job, enqueued?.enqueue?.jobs[0]?.id ?? '');
    streams.acked(TX_STREAM, 0, published?.publish?.offsets[0]?.offset ?? -1, value, ackedEnd);
  }

  /** Takes a job and acks it together with the count of all that were done. */
  async #work({ kv, jobs }: Books): Promise<void> {
    const request = { queue: TX_QUEUE.name, max: 1, waitMs: 0, visibilityMs: 0, worker: this.name };
    const leased = await this.once('lease tx', async (fabric) => {
      const reply = await fabric.queues.lease(caller, request, new AbortController().signal);
      return LeaseResponse.decode(LeaseResponse.encode(reply).finish());
    });
    if (leased.kind !== 'done' || leased.value.jobs[0] === undefined) return;
    const [each] = leased.value.jobs;
    const payload = each.payload.toString();
    const given = { id: each.id, epoch: each.leaseEpoch, attempt: each.attempt, payload, key: '' };
    const held = jobs.deliver(TX_QUEUE.name, { ...given, deadlineMs: each.deadlineMs }, VISIBILITY_MS);
    if (held === null) return;
    if (!this.sim.isClosing && this.chance.hit(0.2)) await this.pause(VISIBILITY_MS, VISIBILITY_MS * 1.4);
    const { job, delivery } = held;
    delivery.said = 'ack';
    const lastEpoch = lastEpochOf(job);
    const begin = this.sim.order();
    const settlements = [ackOf({ id: job.id, leaseEpoch: delivery.epoch })];
    const outcome = await this.#commit(`transaction ack ${job.id}`, [
      { kv: { ops: [{ increment: { key: Buffer.from(DONE_KEY), delta: 1 } }] } },
      { settle: { queue: TX_QUEUE.name, settlements } },
    ]);
    const isDone = outcome.kind === 'done';
    if (!isDone && outcome.error.code !== 'LEASE_LOST') {
      this.sim.broken('a good request is served', `${job.id}: ${outcome.error.message}`);
    }
    jobs.settled(job, delivery, isDone, lastEpoch);
    this.sim.count(isDone ? 'transaction ack' : 'transaction ack refused');
    if (!isDone) return;
    const { integer = 0, revision = 0 } = outcome.value.results[0]?.kv?.results[0] ?? {};
    const op = { do: 'increment', delta: 1, integer, revision } as const;
    kv.add(DONE_KEY, { begin, end: this.sim.order(), op });
  }

  /** In the end, of each transaction all is there or nothing. */
  async check({ streams }: Books): Promise<void> {
    for (const { value, job, isDone } of this.made) {
      const got = await this.ask(
        `kv-tx ${value}`,
        { get: { key: Buffer.from(keyOf(value)) } },
        this.mutation(),
      );
      const there = {
        key: got?.found === true && got.value.toString() === value,
        job: job.id !== '',
        record: streams.placeOf(value) !== undefined,
      };
      const all = Object.values(there).every((each) => each === isDone);
      const how = () => `${value} was ${isDone ? 'done' : 'refused'}: ${JSON.stringify(there)}`;
      this.sim.expect(all, 'a transaction is all or nothing', how);
    }
  }
}
