// Every unary call: admit, call the service, answer. One table says which method of the services serves
// which rpc; its type is taken from the generated services, so that an rpc without a row does not compile.

import type * as gen from '@flowmesh/protocol/gen/services.js';
import type grpc from '@grpc/grpc-js';
import type { Caller } from '../../shard/state-machine.ts';
import { plainAddress } from '../address.ts';
import { closing } from '../refusals.ts';
import { admit, type GrpcContext } from './call.ts';
import type { Received } from './codec.ts';
import { type Status, statusOf } from './status.ts';

/** Lets a method know that nobody waits any more. Made only for methods that ask. */
export interface Presence {
  readonly signal: AbortSignal;
  /** Where the call comes from. */
  readonly address: string;
}

type Method<Request, Response> = (caller: Caller, request: Request, presence: Presence) => Promise<Response>;

type UnaryMethods<Handlers> = {
  [Name in keyof Handlers as Handlers[Name] extends grpc.handleUnaryCall<infer _Q, infer _R>
    ? Name
    : never]: Handlers[Name] extends grpc.handleUnaryCall<infer Request, infer Response>
    ? Method<Request, Response>
    : never;
};

interface AllUnary {
  readonly 'externalscaler.ExternalScaler': UnaryMethods<gen.ExternalScalerHandlers>;
  readonly 'flowmesh.v1.Admin': UnaryMethods<gen.AdminHandlers>;
  readonly 'flowmesh.v1.History': UnaryMethods<gen.HistoryHandlers>;
  readonly 'flowmesh.v1.Kv': UnaryMethods<gen.KvHandlers>;
  readonly 'flowmesh.v1.Queues': UnaryMethods<gen.QueuesHandlers>;
  readonly 'flowmesh.v1.Streams': UnaryMethods<gen.StreamsHandlers>;
  readonly 'flowmesh.v1.Transactions': UnaryMethods<gen.TransactionsHandlers>;
}

export function unaryMethods({ fabric, scaler }: Pick<GrpcContext, 'fabric' | 'scaler'>): AllUnary {
  const { kv, queues, streams, transactions, history, admin } = fabric;
  return {
    'externalscaler.ExternalScaler': {
      isActive: (caller, ref) => scaler.isActive(caller, ref),
      getMetricSpec: (caller, ref) => scaler.getMetricSpec(caller, ref),
      getMetrics: (caller, request) => scaler.getMetrics(caller, request),
    },
    'flowmesh.v1.Admin': {
      applyQueue: (caller, spec) => admin.applyQueue(caller, spec),
      getQueue: (caller, request) => admin.getQueue(caller, request),
      listQueues: (caller) => admin.listQueues(caller),
      deleteQueue: (caller, request) => admin.deleteQueue(caller, request),
      applyStream: (caller, spec) => admin.applyStream(caller, spec),
      getStream: (caller, request) => admin.getStream(caller, request),
      listStreams: (caller) => admin.listStreams(caller),
      deleteStream: (caller, request) => admin.deleteStream(caller, request),
      applyKeyspace: (caller, spec) => admin.applyKeyspace(caller, spec),
      listKeyspaces: (caller) => admin.listKeyspaces(caller),
      getCluster: (caller) => admin.getCluster(caller),
      declareQueue: (caller, request) => admin.declareQueue(caller, request),
      declareStream: (caller, request) => admin.declareStream(caller, request),
      applySchema: (caller, spec) => admin.applySchema(caller, spec),
      getSchema: (caller, request) => admin.getSchema(caller, request),
      listSchemas: (caller) => admin.listSchemas(caller),
      deleteSchema: (caller, request) => admin.deleteSchema(caller, request),
      declareSchema: (caller, request) => admin.declareSchema(caller, request),
      releaseOwner: (caller, request) => admin.releaseOwner(caller, request),
      listFigures: (caller, request) => admin.listFigures(caller, request),
      getScaling: (caller, request) => admin.getScaling(caller, request),
    },
    'flowmesh.v1.History': {
      listEffects: (caller, request) => history.listEffects(caller, request),
      getQueueAt: (caller, request) => history.getQueueAt(caller, request),
      listJobsAt: (caller, request) => history.listJobsAt(caller, request),
    },
    'flowmesh.v1.Kv': { execute: (caller, request) => kv.execute(caller, request) },
    'flowmesh.v1.Queues': {
      enqueue: (caller, request) => queues.enqueue(caller, request),
      enqueueFlow: (caller, request) => queues.enqueueFlow(caller, request),
      async lease(caller, request, { signal, address }) {
        const response = await queues.lease(caller, request, signal, address).catch((error: unknown) => {
          throw signal.aborted ? closing() : error;
        });
        if (!signal.aborted) return response;
        // Granted in the moment in which the client left: nobody would ever see these leases.
        queues.releaseUndelivered(caller, request.queue, response.jobs ?? []);
        throw closing();
      },
      settle: (caller, request) => queues.settle(caller, request),
      renewSession: (caller, request) => queues.renewSession(caller, request),
      endSession: (caller, request) => queues.endSession(caller, request),
      report: (caller, request) => queues.report(caller, request),
      getJob: (caller, request) => queues.getJob(caller, request),
      listJobs: (caller, request) => queues.listJobs(caller, request),
      listChildren: (caller, request) => queues.listChildren(caller, request),
      jobHistory: (caller, request) => queues.jobHistory(caller, request),
      cancelJob: (caller, request) => queues.cancelJob(caller, request),
      purge: (caller, request) => queues.purge(caller, request),
      setDraining: (caller, request) => queues.setDraining(caller, request),
      setPaused: (caller, request) => queues.setPaused(caller, request),
      redrive: (caller, request) => queues.redrive(caller, request),
      startRedrive: (caller, request) => queues.startRedrive(caller, request),
      getRedrive: (caller, request) => queues.getRedrive(caller, request),
      cancelRedrive: (caller, request) => queues.cancelRedrive(caller, request),
    },
    'flowmesh.v1.Streams': {
      publish: (caller, request) => streams.publish(caller, request),
      read: (caller, request) => streams.read(caller, request),
      commit: (caller, request) => streams.commit(caller, request),
      seek: (caller, request) => streams.seek(caller, request),
      getGroup: (caller, request) => streams.getGroup(caller, request),
      listGroups: (caller, request) => streams.listGroups(caller, request),
    },
    'flowmesh.v1.Transactions': { commit: (caller, request) => transactions.commit(caller, request) },
  };
}

type UnaryCall = grpc.ServerUnaryCall<Received<unknown>, unknown>;

export function unaryHandler(
  context: GrpcContext,
  path: string,
  method: Method<never, unknown>,
): (call: UnaryCall, callback: (error: Status | null, response?: unknown) => void) => void {
  const { access, runtime, refuse } = context;
  const meter = context.metrics.meter('grpc', path);
  const ask = method as Method<unknown, unknown>;

  return (call, callback) => {
    const startedMs = runtime.monotonicMs();
    const presence = new CallPresence(call, context.drains);
    meter.open++;
    const leave = (code: string) => {
      meter.open--;
      meter.ended(code, runtime.monotonicMs() - startedMs);
      presence.leave();
    };
    const fail = (cause: unknown) => {
      const error = refuse(cause, path);
      leave(error.code);
      callback(statusOf(error));
    };
    const answer = (response: unknown) => {
      leave('OK');
      callback(null, response);
    };
    try {
      const { identity, caller } = admit(context, path, call);
      const { message, error } = call.request;
      if (error) throw error;
      access.authorize(identity, path, message);
      ask(caller, message, presence).then(answer).catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}

/** Aborts when the client is gone, or when the listener closes and a long poll must not hold it up. */
class CallPresence implements Presence {
  readonly #call: UnaryCall;
  readonly #drains: Set<() => void>;
  #controller: AbortController | undefined;
  readonly #abort = () => this.#controller?.abort();

  constructor(call: UnaryCall, drains: Set<() => void>) {
    this.#call = call;
    this.#drains = drains;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      this.#call.once('cancelled', this.#abort);
      this.#drains.add(this.#abort);
      if (this.#call.cancelled) this.#abort();
    }
    return this.#controller.signal;
  }

  get address(): string {
    const peer = this.#call.getPeer();
    return peer === 'unknown' ? '' : plainAddress(peer.replace(/:\d+$/, ''));
  }

  leave(): void {
    this.#call.off('cancelled', this.#abort);
    this.#drains.delete(this.#abort);
  }
}
