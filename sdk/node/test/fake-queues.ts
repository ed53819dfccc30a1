// Queues, leases and worker sessions of the fake server.
import {
  type BatchHead,
  type EntrySpan,
  FlowError,
  patchHead,
  readEntries,
  sliceBatch,
  validateBatch,
} from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type grpc from '@grpc/grpc-js';

interface Source {
  bytes: Buffer;
  head: BatchHead;
  spans: EntrySpan[];
}

export interface FakeJob {
  source: Source;
  index: number;
  offset: number;
  attempt: number;
  epoch: number;
  session: string;
  state: 'waiting' | 'delayed' | 'leased' | 'done' | 'dead';
  errors: string[];
  releases: number;
}

interface Session {
  id: string;
  queue: FakeQueue;
  call: grpc.ServerDuplexStream<pb.WorkRequest, pb.WorkResponseInput> | undefined;
  credits: number;
  visibilityMs: number;
  deadlineMs: number;
  leases: Map<number, FakeJob>;
}

export class FakeQueue {
  readonly name: string;
  readonly jobs: FakeJob[] = [];
  ready: FakeJob[] = [];
  timeoutMs = 0;

  constructor(name: string) {
    this.name = name;
  }

  states(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { state } of this.jobs) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  }
}

type WorkCall = grpc.ServerDuplexStream<pb.WorkRequest, pb.WorkResponseInput>;

export class FakeQueues {
  readonly byName = new Map<string, FakeQueue>();
  readonly sessions = new Map<string, Session>();
  readonly settles: pb.WorkSettle[] = [];
  renewals = 0;
  ended: string[] = [];
  /** That many deliveries are granted, but never arrive. */
  loseDeliveries = 0;
  /** Settlements are taken, but not answered. */
  keepSettled = false;
  defaultVisibilityMs = 30_000;
  /** With what every session is refused. */
  refusal: Partial<grpc.StatusObject> | undefined;
  #epoch = 0;
  readonly #reaper = setInterval(() => this.#expire(), 10);

  queue(name: string): FakeQueue {
    let queue = this.byName.get(name);
    if (queue === undefined) {
      queue = new FakeQueue(name);
      this.byName.set(name, queue);
    }
    return queue;
  }

  close(): void {
    clearInterval(this.#reaper);
  }

  handlers() {
    return {
      renewSession: ({ sessionId }: pb.RenewSessionRequest) => {
        const session = this.sessions.get(sessionId);
        if (session === undefined) throw new FlowError('LEASE_LOST', 'no such session');
        this.renewals++;
        session.deadlineMs = Date.now() + session.visibilityMs;
        return { deadlineMs: session.deadlineMs };
      },
      endSession: ({ sessionId }: pb.EndSessionRequest) => {
        const session = this.sessions.get(sessionId);
        this.ended.push(sessionId);
        this.sessions.delete(sessionId);
        for (const job of session?.leases.values() ?? []) this.#release(job);
        return { released: session?.leases.size ?? 0 };
      },
      purge: ({ queue }: pb.PurgeRequest) => ({ purged: this.queue(queue).ready.splice(0).length }),
    };
  }

  enqueue({ queue: name, batch, mutation }: pb.EnqueueBatch): pb.EnqueueBatchReplyInput {
    const queue = this.queue(name);
    const bytes = Buffer.from(batch);
    const head = validateBatch(bytes);
    const firstOffset = queue.jobs.length;
    patchHead(bytes, firstOffset, Date.now());
    const source = { bytes, head: { ...head, baseOffset: firstOffset }, spans: readEntries(bytes, 0, head) };
    for (let index = 0; index < head.count; index++) {
      const offset = firstOffset + index;
      const job: FakeJob = {
        source,
        index,
        offset,
        attempt: 1,
        epoch: 0,
        session: '',
        state: 'waiting',
        errors: [],
        releases: 0,
      };
      queue.jobs.push(job);
      queue.ready.push(job);
    }
    this.#dispatch(queue);
    return { seq: mutation?.seq, idPrefix: '0-1-', firstOffset, count: head.count };
  }

  work(call: WorkCall): void {
    let session: Session | undefined;
    call.on('error', () => {});
    if (this.refusal !== undefined) {
      call.emit('error', this.refusal);
      return;
    }
    call.on('cancelled', () => {
      if (session?.call === call) session.call = undefined;
    });
    call.on('end', () => call.end());
    call.on('data', (message: pb.WorkRequest) => {
      if (message.hello !== null) session = this.#hello(call, message.hello);
      else if (session === undefined) return;
      else if (message.settle !== null) this.#settle(session, message.settle);
      else session.credits += message.credits ?? 0;
      if (session !== undefined) this.#dispatch(session.queue);
    });
  }

  #hello(call: WorkCall, hello: pb.WorkHello): Session {
    const queue = this.queue(hello.queue);
    const visibilityMs = hello.visibilityMs || this.defaultVisibilityMs;
    let session = this.sessions.get(hello.sessionId);
    if (session === undefined) {
      session = {
        id: hello.sessionId,
        queue,
        call,
        credits: 0,
        visibilityMs,
        deadlineMs: 0,
        leases: new Map(),
      };
      this.sessions.set(session.id, session);
    }
    session.call = call;
    session.credits = hello.credits;
    session.deadlineMs = Date.now() + visibilityMs;
    const { timeoutMs } = queue;
    call.write({ welcome: { sessionId: session.id, idPrefix: '0-1-', visibilityMs, timeoutMs } });
    return session;
  }

  #settle(session: Session, settle: pb.WorkSettle): void {
    this.settles.push(settle);
    const lost: number[] = [];
    const take = (offset: number, epoch: number): FakeJob | undefined => {
      const job = session.queue.jobs[offset];
      if (job?.epoch === epoch && job.state === 'done') return undefined;
      // Whoever has the epoch may settle, over whichever connection.
      const isHeld = job?.epoch === epoch && job.state === 'leased';
      if (!isHeld) lost.push(offset);
      else for (const each of this.sessions.values()) each.leases.delete(offset);
      return isHeld ? job : undefined;
    };
    for (const { offset, epoch, count } of settle.acks) {
      for (let i = 0; i < count; i++) {
        const job = take(offset + i, epoch + i);
        if (job !== undefined) job.state = 'done';
      }
    }
    for (const { offset, epoch, nack } of settle.nacks) {
      const job = take(offset, epoch);
      if (job !== undefined) this.#nack(session.queue, job, nack);
    }
    for (const { offset, epoch } of settle.extends) {
      if (session.queue.jobs[offset]?.epoch !== epoch) lost.push(offset);
    }
    if (!this.keepSettled) session.call?.write({ settled: { seq: settle.seq, lostOffsets: lost } });
  }

  #nack(queue: FakeQueue, job: FakeJob, nack: pb.Nack | null): void {
    if (nack?.release) {
      this.#release(job);
      return;
    }
    job.errors.push(nack?.error ?? '');
    if (nack?.unrecoverable) {
      job.state = 'dead';
      return;
    }
    job.state = 'delayed';
    job.attempt++;
    setTimeout(() => {
      job.state = 'waiting';
      queue.ready.push(job);
      this.#dispatch(queue);
    }, nack?.retryAfterMs ?? 5);
  }

  #release(job: FakeJob): void {
    const queue = [...this.byName.values()].find((q) => q.jobs[job.offset] === job);
    job.state = 'waiting';
    job.epoch = 0;
    job.releases++;
    queue?.ready.push(job);
    if (queue !== undefined) this.#dispatch(queue);
  }

  #dispatch(queue: FakeQueue): void {
    for (const session of this.sessions.values()) {
      if (session.queue !== queue || session.call === undefined) continue;
      let taken = 0;
      while (session.credits > 0 && taken < queue.ready.length) {
        const jobs: FakeJob[] = [];
        const source = queue.ready[taken]?.source;
        while (jobs.length < session.credits && queue.ready[taken]?.source === source) {
          const job = queue.ready[taken++];
          if (job === undefined) break;
          jobs.push(job);
        }
        session.credits -= jobs.length;
        const firstEpoch = this.#epoch + 1;
        for (const job of jobs) {
          job.epoch = ++this.#epoch;
          job.state = 'leased';
          session.leases.set(job.offset, job);
        }
        this.#deliver(session, jobs, firstEpoch);
      }
      if (taken > 0) queue.ready.splice(0, taken);
    }
  }

  #deliver(session: Session, jobs: FakeJob[], firstEpoch: number): void {
    const [first] = jobs;
    if (first === undefined) return;
    if (this.loseDeliveries > 0) {
      this.loseDeliveries--;
      return;
    }
    const { bytes, head, spans } = first.source;
    const isWhole = jobs.length === head.count && jobs.every((job, i) => job.index === i);
    const batch = isWhole
      ? bytes
      : sliceBatch(
          bytes,
          head,
          jobs.map((job) => spans[job.index] as EntrySpan),
        );
    session.call?.write({
      delivery: {
        batch,
        offsets: isWhole ? [] : jobs.map((job) => job.offset),
        firstEpoch,
        attempts: jobs.every((job) => job.attempt === 1) ? [] : jobs.map((job) => job.attempt),
        deadlineMs: session.deadlineMs,
      },
    });
  }

  /** Ends the leases of a session whose deadline has passed. */
  #expire(): void {
    for (const session of this.sessions.values()) {
      if (session.leases.size === 0 || session.deadlineMs > Date.now()) continue;
      const jobs = [...session.leases.values()];
      session.leases.clear();
      session.deadlineMs = Date.now() + session.visibilityMs;
      session.call?.write({ lost: { offsets: jobs.map((j) => j.offset), epochs: jobs.map((j) => j.epoch) } });
      for (const job of jobs) {
        job.attempt++;
        this.#release(job);
      }
    }
  }

  /** Takes the leases of every session away at once. */
  revokeLeases(): void {
    for (const session of this.sessions.values()) session.deadlineMs = 0;
    this.#expire();
  }
}
