// A whole fabric on a manual clock, and short ways to ask its queues. In memory, or in a directory that it
// is opened from again.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type OpenedFabric, openFabric } from '../../dataplane/fabric.ts';
import type { JournalFiles } from '../../dataplane/journal/files.ts';
import type { QueueCell } from '../../dataplane/queue/cell.ts';
import type { QueueView } from '../../dataplane/queue/view.ts';
import type { Caller } from '../../dataplane/shard/state-machine.ts';
import type { LogFiles } from '../../dataplane/storage/log-files.ts';
import { ManualTime } from './manual-time.ts';

export const caller: Caller = { identity: 'test', tenant: 1, deadlineMs: 0 };

export interface JobOptions {
  key?: string;
  delayMs?: number;
  priority?: number;
  dedupKey?: string;
  dedupMode?: string;
  dedupWindowMs?: number;
  limitKey?: string;
}

export const aJob = (payload: string, o: JobOptions = {}): pb.NewJob => ({
  payload: Buffer.from(payload),
  contentType: '',
  key: Buffer.from(o.key ?? ''),
  delayMs: o.delayMs ?? 0,
  priority: o.priority ?? 0,
  dedupKey: o.dedupKey ?? '',
  dedupMode: o.dedupMode ?? '',
  dedupWindowMs: o.dedupWindowMs ?? 0,
  headers: {},
  envelope: null,
  timeoutMs: 0,
  limitKey: Buffer.from(o.limitKey ?? ''),
});

export const aQueue = (name: string, more: Partial<pb.QueueSpec> = {}): pb.QueueSpec => ({
  name,
  visibilityTimeoutMs: 0,
  maxAttempts: 0,
  maxDeliveries: 0,
  backoff: null,
  deadLetterQueue: '',
  deduplicationWindowMs: 0,
  maxDepth: 0,
  retentionMs: 0,
  retentionBytes: 0,
  timeoutMs: 0,
  mutation: null,
  limits: null,
  fair: false,
  schedules: [],
  onFull: '',
  failedHead: '',
  priorityAgingMs: 0,
  scaling: null,
  schemaRef: null,
  ...more,
});

export const mutation = (producerId: string, seq: number): pb.Mutation => ({ producerId, seq, cause: null });

/** A leased job as a test names it. */
export interface Held {
  readonly id: string;
  readonly leaseEpoch: number;
  readonly attempt: number;
  readonly payload: string;
  readonly deadlineMs: number;
}

export const heldOf = (job: pb.LeasedJobInput): Held => ({
  id: job.id ?? '',
  leaseEpoch: job.leaseEpoch ?? 0,
  attempt: job.attempt ?? 0,
  payload: Buffer.from(job.payload ?? []).toString(),
  deadlineMs: job.deadlineMs ?? 0,
});

type Settled = Pick<Held, 'id' | 'leaseEpoch'>;
export const ackOf = (job: Settled): pb.Settlement =>
  ({
    id: job.id,
    leaseEpoch: job.leaseEpoch,
    ack: { result: Buffer.alloc(0), resultContentType: '' },
  }) as pb.Settlement;
export const nackOf = (job: Settled, nack: Partial<pb.Nack> = {}): pb.Settlement =>
  ({
    id: job.id,
    leaseEpoch: job.leaseEpoch,
    nack: { error: '', retryAfterMs: null, unrecoverable: false, release: false, ...nack },
  }) as pb.Settlement;
export const extendOf = (job: Settled, visibilityMs: number): pb.Settlement =>
  ({ id: job.id, leaseEpoch: job.leaseEpoch, extend: { visibilityMs } }) as pb.Settlement;

export interface BenchOptions {
  readonly shards?: number;
  /** Keeps files, for `restart` and `crash`. */
  readonly onDisk?: boolean;
  /** The journal's file system. */
  readonly files?: JournalFiles;
  /** That of partition logs. */
  readonly logFiles?: LogFiles;
}

/** Jobs that die, move, become due or are waited for may need bytes and rows from the disk first. */
const isAtWork = ({ view, cell }: { view: QueueView; cell: QueueCell }): boolean =>
  cell.state.dying > 0 ||
  cell.redrive?.state === 'running' ||
  (cell.state.delayed + cell.state.retrying > 0 && cell.due.first() === undefined) ||
  (cell.waiting > 0 && !cell.state.paused && view.workers(cell) > 0);

export class Bench {
  readonly time = new ManualTime();
  readonly #shards: number;
  readonly dir: string | null;
  readonly #files: Pick<BenchOptions, 'files' | 'logFiles'>;
  readonly fatal: Error[] = [];
  fabric!: OpenedFabric;

  static async open({ shards = 1, onDisk = false, files, logFiles }: BenchOptions = {}): Promise<Bench> {
    const dir = onDisk ? await mkdtemp(join(tmpdir(), 'flowmesh-bench-')) : null;
    const bench = new Bench(shards, dir, { ...(files && { files }), ...(logFiles && { logFiles }) });
    await bench.#open();
    return bench;
  }

  constructor(shards: number, dir: string | null, files: Pick<BenchOptions, 'files' | 'logFiles'>) {
    this.#shards = shards;
    this.dir = dir;
    this.#files = files;
  }

  async #open(): Promise<void> {
    this.fabric = await openFabric({
      dataDir: this.dir,
      shards: this.#shards,
      autoCreate: true,
      runtime: this.time,
      version: 'test',
      log: () => {},
      onFatal: (error) => void this.fatal.push(error),
      storage: {
        segmentBytes: 1024 * 1024,
        ...this.#files,
      },
    });
  }

  get queues() {
    return this.fabric.queues;
  }

  /** A little real time for IO. */
  async turns(): Promise<void> {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Until nothing is under way but what waits for the clock. */
  async idle(): Promise<void> {
    const positions = () => this.fabric.shards.map(({ shard }) => shard.durableSeq).join();
    let patience = 30;
    for (let calm = 0; calm < 3; calm++) {
      const before = positions();
      for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(this.fabric.shards.map(({ shard }) => shard.settled()));
      if (positions() !== before) calm = -1;
      else if (
        (this.#views().some(({ flows }) => flows.isAtWork) || this.#cells().some(isAtWork)) &&
        patience-- > 0
      ) {
        calm = -1;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    if (this.fatal[0] !== undefined) throw this.fatal[0];
  }

  #views(): QueueView[] {
    return this.fabric.shards.map((shard) => shard.views[1] as unknown as QueueView);
  }

  #cells(): { view: QueueView; cell: QueueCell }[] {
    return this.#views().flatMap((view) => [...view.state.byName.values()].map((cell) => ({ view, cell })));
  }

  async advance(ms: number): Promise<void> {
    await this.idle();
    await this.time.advance(ms, () => this.idle());
    await this.idle();
  }

  async checkpoint(): Promise<void> {
    await this.idle();
    for (const { shard, checkpoints } of this.fabric.shards) {
      await checkpoints.run({ seq: shard.durableSeq, timeMs: shard.nowMs() }, async () => {});
    }
  }

  /** `close` checkpoints; without `clean` the next start replays the journal behind the checkpoint before. */
  async restart({ clean = false } = {}): Promise<void> {
    await this.idle();
    if (!clean) for (const { checkpoints } of this.fabric.shards) checkpoints.isHeld = true;
    await this.fabric.close();
    this.time.clear();
    await this.#open();
    await this.idle();
  }

  async close(): Promise<void> {
    await this.fabric.close();
    this.time.clear();
    if (this.dir !== null) await rm(this.dir, { recursive: true });
  }

  declare(name: string, more: Partial<pb.QueueSpec> = {}) {
    return this.fabric.admin.applyQueue(caller, aQueue(name, more));
  }

  async enqueue(queue: string, ...jobs: pb.NewJob[]): Promise<readonly pb.EnqueuedJobInput[]> {
    const { jobs: enqueued } = await this.queues.enqueue(caller, { queue, jobs, mutation: null });
    return enqueued ?? [];
  }

  /** Jobs granted at once; [] when none is ready. */
  async lease(queue: string, max = 1, more: Partial<pb.LeaseRequest> = {}): Promise<Held[]> {
    const request = { queue, max, waitMs: 0, visibilityMs: 0, worker: 'w', ...more };
    let reply: pb.LeaseResponseInput | undefined;
    const asked = this.queues.lease(caller, request, new AbortController().signal).then((r) => {
      reply = r;
    });
    await this.idle();
    if (reply === undefined) await this.time.advance(20, () => this.idle());
    await asked;
    return (reply?.jobs ?? []).map(heldOf);
  }

  async leaseOne(queue: string): Promise<Held> {
    const [job] = await this.lease(queue);
    if (job === undefined) throw new Error(`queue ${queue} gave no job`);
    return job;
  }

  /** Codes, one per settlement; '' is done. */
  async settle(queue: string, ...settlements: pb.Settlement[]): Promise<string[]> {
    const reply = await this.queues.settle(caller, { queue, settlements, mutation: null });
    await this.idle();
    return (reply.results ?? []).map(({ code }) => code ?? '');
  }

  async figures(queue: string) {
    const { figures } = await this.fabric.admin.getQueue(caller, { name: queue });
    const { waiting, delayed, blocked, leased } = figures as pb.QueueFigures;
    return { waiting, delayed, blocked, leased };
  }

  async totals(queue: string) {
    const { figures } = await this.fabric.admin.getQueue(caller, { name: queue });
    const { enqueuedTotal, completedTotal, failedTotal, deadTotal } = figures as pb.QueueFigures;
    return { enqueuedTotal, completedTotal, failedTotal, deadTotal };
  }

  job(queue: string, id: string): Promise<pb.JobInput> {
    return this.queues.getJob(caller, { queue, id });
  }

  async history(queue: string, id: string): Promise<string[]> {
    const { transitions } = await this.queues.jobHistory(caller, { queue, id });
    return (transitions ?? []).map(({ kind }) => kind ?? '');
  }

  async list(queue: string, state = '', limit = 0, cursor = '') {
    const page = await this.queues.listJobs(caller, { queue, state, limit, cursor });
    const payloads = (page.jobs ?? []).map(({ payload }) => Buffer.from(payload ?? []).toString());
    return { payloads, cursor: page.cursor ?? '' };
  }
}

export const payloads = (jobs: readonly Held[]): string[] => jobs.map(({ payload }) => payload);
