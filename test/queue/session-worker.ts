// A worker's stream that keeps what it is sent.
import { decodeBatch, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { WorkSession } from '../../dataplane/services.ts';
import { type Bench, caller } from './bench.ts';

export interface Delivered {
  offset: number;
  epoch: number;
  payload: string;
  attempt: number;
}

export interface SessionOptions {
  sessionId: string;
  credits: number;
  held?: Delivered[];
  more?: Partial<pb.WorkHello>;
  /** The connection before of the same session, whose sequence of settlements goes on. */
  before?: SessionWorker;
  /** Whether to wait until nothing is under way. */
  settle?: boolean;
}

export class SessionWorker {
  readonly sessionId: string;
  readonly jobs: Delivered[] = [];
  readonly lost: number[] = [];
  readonly lostCodes: string[] = [];
  readonly settled: pb.WorkSettledInput[] = [];
  session!: WorkSession;
  readonly #bench: Bench;
  #seq = 0;

  constructor(bench: Bench, sessionId: string) {
    this.#bench = bench;
    this.sessionId = sessionId;
  }

  static async open(bench: Bench, queue: string, o: SessionOptions): Promise<SessionWorker> {
    const { sessionId, credits } = o;
    const worker = new SessionWorker(bench, sessionId);
    worker.#seq = o.before?.sessionId === sessionId ? o.before.#seq : 0;
    const held = (o.held ?? []).map(({ offset, epoch }) => ({ offset, epoch, count: 1 }));
    const defaults = { visibilityMs: 0, worker: sessionId, build: '', concurrency: 0 };
    const hello = { ...defaults, queue, sessionId, credits, held, ...o.more };
    worker.session = await bench.queues.openWork(caller, hello, (message) => worker.#take(message));
    if (o.settle !== false) await bench.idle();
    return worker;
  }

  get payloads(): string[] {
    return this.jobs.map(({ payload }) => payload);
  }

  tell(message: object): Promise<void> {
    this.session.receive(message as pb.WorkRequest);
    return this.#bench.idle();
  }

  ack(...jobs: Delivered[]): Promise<void> {
    this.ackSoon(...jobs);
    return this.#bench.idle();
  }

  ackSoon(...jobs: Delivered[]): void {
    const acks = jobs.map(({ offset, epoch }) => ({ offset, epoch, count: 1 }));
    this.session.receive({
      settle: { seq: ++this.#seq, acks, nacks: [], extends: [], results: [] },
    } as unknown as pb.WorkRequest);
  }

  #take({ delivery, lost, settled }: pb.WorkResponseInput): boolean {
    if (delivery) {
      const batch = delivery.batch as Buffer;
      const base = readHead(batch).baseOffset;
      decodeBatch(batch).forEach((record, i) => {
        this.jobs.push({
          offset: delivery.offsets?.[i] ?? base + i,
          epoch: (delivery.firstEpoch ?? 0) + i,
          payload: Buffer.from(record.value ?? []).toString(),
          attempt: delivery.attempts?.[i] ?? 1,
        });
      });
    }
    if (lost) this.lost.push(...(lost.offsets ?? []));
    if (lost?.code) this.lostCodes.push(lost.code);
    if (settled) this.settled.push(settled);
    return true;
  }
}
