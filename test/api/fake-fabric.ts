// A fabric that only writes down what it is asked and answers what the test put in: for tests of the
// listeners.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ScalingBoard } from '../../dataplane/scaling/board.ts';
import type {
  AdminService,
  ConsumeSession,
  Fabric,
  FabricState,
  FollowSession,
  HistoryService,
  KvService,
  QueueService,
  StreamService,
  TransactionService,
  WorkSession,
} from '../../dataplane/services.ts';
import type { Caller } from '../../dataplane/shard/state-machine.ts';

export interface Call {
  readonly name: string;
  readonly caller: Caller | undefined;
  readonly request: unknown;
  readonly rest: readonly unknown[];
}

type Answer = unknown | ((call: Call) => unknown);

/** A session of any kind, seen from the service. */
export class FakeSession implements WorkSession, ConsumeSession, FollowSession {
  readonly received: unknown[] = [];
  resumed = 0;
  disconnected = 0;
  readonly send: (message: never) => boolean;
  readonly fail: (error: FlowError) => void;
  onReceive: (message: unknown) => void = () => {};

  constructor(send: (message: never) => boolean, fail: (error: FlowError) => void = () => {}) {
    this.send = send;
    this.fail = fail;
  }

  receive(message: unknown): void {
    this.received.push(message);
    this.onReceive(message);
  }

  resume(): void {
    this.resumed++;
  }

  disconnect(): void {
    this.disconnected++;
  }

  close(): void {
    this.disconnected++;
  }
}

export class FakeFabric implements Fabric {
  readonly calls: Call[] = [];
  readonly sessions: FakeSession[] = [];
  readonly listeners: ((state: FabricState) => void)[] = [];
  /** Pending replies of hot paths when `hold` is set. */
  readonly held: (() => void)[] = [];
  hold = false;
  readonly #answers = new Map<string, Answer>();
  #state: FabricState = 'serving';

  readonly kv: KvService = this.#service('kv');
  readonly transactions: TransactionService = this.#service('transactions');
  readonly admin: AdminService = this.#service('admin');
  readonly scaling: ScalingBoard = {
    read: (target) =>
      (this.#answers.get('scaling.read') as ScalingBoard['read'] | undefined)?.(target) ?? 'unknown',
    follow: () => () => {},
  };
  readonly history: HistoryService = this.#service('history');
  readonly queues: QueueService = this.#service<QueueService>('queues', {
    enqueueBatch: this.#hot('queues.enqueueBatch'),
    openWork: this.#open('queues.openWork'),
    releaseUndelivered: (caller: Caller, request: string, jobs: readonly pb.LeasedJobInput[]) =>
      void this.calls.push({ name: 'queues.releaseUndelivered', caller, request, rest: [jobs] }),
  });
  readonly streams: StreamService = this.#service<StreamService>('streams', {
    publishBatch: this.#hot('streams.publishBatch'),
    openConsume: this.#open('streams.openConsume'),
    openFollow: this.#open('streams.openFollow'),
  });

  /** What `name` ('kv.execute') answers: a value, an error to throw, or a function of the call. */
  answer(name: string, answer: Answer): void {
    this.#answers.set(name, answer);
  }

  state(): FabricState {
    return this.#state;
  }

  onState(listener: (state: FabricState) => void): void {
    this.listeners.push(listener);
  }

  become(state: FabricState): void {
    this.#state = state;
    for (const listener of this.listeners) listener(state);
  }

  last(name: string): Call {
    const call = this.calls.findLast((each) => each.name === name);
    if (!call) throw new Error(`${name} was not called; ${this.calls.map((each) => each.name).join(', ')}`);
    return call;
  }

  releaseHeld(): void {
    this.hold = false;
    for (const reply of this.held.splice(0)) reply();
  }

  #ask(call: Call): unknown {
    this.calls.push(call);
    const answer = this.#answers.get(call.name) ?? {};
    const value = typeof answer === 'function' ? answer(call) : answer;
    if (value instanceof Error) throw value;
    return value;
  }

  #service<Service>(prefix: string, special: Partial<Service> = {}): Service {
    const target: Record<string, unknown> = { ...special };
    return new Proxy(target, {
      get: (own, method) => {
        if (typeof method !== 'string') return undefined;
        return (
          own[method] ??
          (async (caller: Caller, request: unknown, ...rest: unknown[]) =>
            this.#ask({ name: `${prefix}.${method}`, caller, request, rest }))
        );
      },
    }) as Service;
  }

  #hot(name: string) {
    return (
      caller: Caller,
      request: { mutation: pb.Mutation | null },
      done: (reply: { seq: number }) => void,
    ): void => {
      const reply = this.#ask({ name, caller, request, rest: [] }) as object;
      const answer = () => done({ seq: request.mutation?.seq ?? 0, ...reply });
      if (this.hold) this.held.push(answer);
      else queueMicrotask(answer);
    };
  }

  #open(name: string) {
    return async (
      caller: Caller,
      request: unknown,
      send: (message: never) => boolean,
      fail?: (error: FlowError) => void,
    ): Promise<FakeSession> => {
      await this.#ask({ name, caller, request, rest: [] });
      const session = new FakeSession(send, fail);
      this.sessions.push(session);
      return session;
    };
  }
}

export const flowError = (...args: ConstructorParameters<typeof FlowError>) => new FlowError(...args);
