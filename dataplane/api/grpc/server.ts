// The gRPC listener.
//   L1. Every rpc of the protocol has a handler and an entry in the permission table, or the listener does
//       not start.
//   L2. Limits below bound what one connection can hold: messages, streams, silence.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { services } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import type { Runtime } from '../../runtime.ts';
import { createExternalScaler } from '../../scaling/external-scaler.ts';
import type { Fabric } from '../../services.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Access } from '../access.ts';
import { createRefuse, errorMessage } from '../refusals.ts';
import { grpcCredentials, type LiveTls } from '../tls.ts';
import { addBuiltinServices } from './builtin.ts';
import type { GrpcContext } from './call.ts';
import { guarded } from './codec.ts';
import { type ReplyProtocol, replyHandler, WINDOW } from './replies.ts';
import { consumeProtocol, type Feed, feedHandler, sessionHandler, workProtocol } from './sessions.ts';
import { unaryHandler, unaryMethods } from './unary.ts';

export interface GrpcOptions {
  readonly fabric: Fabric;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly access: Access;
  readonly tls?: LiveTls | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly runtime: Runtime;
}

export interface Listener {
  readonly port: number;
  /** Lets calls finish for at most `graceMs`, then cuts the connections. */
  close(graceMs: number): Promise<void>;
}

const OPTIONS: grpc.ServerOptions = {
  // A record batch of 3 MiB and its frame.
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  'grpc.max_send_message_length': -1,
  // Of them scaling/external-scaler.ts leaves some for calls.
  'grpc.max_concurrent_streams': 100,
  // A peer that is gone without goodbye is noticed after 30 + 10 s.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.max_connection_idle_ms': 15 * 60_000,
  // Its counters cost more than our own, and nobody reads them.
  'grpc.enable_channelz': 0,
};

export async function startGrpc(options: GrpcOptions): Promise<Listener> {
  const { fabric, access, log, metrics, runtime } = options;
  let isClosing = false;
  const context: GrpcContext = {
    fabric,
    scaler: createExternalScaler(fabric.scaling),
    access,
    log,
    metrics,
    runtime,
    refuse: createRefuse({ log, runtime }),
    drains: new Set(),
    isClosing: () => isClosing,
  };
  const server = new grpc.Server(OPTIONS);
  addServices(server, context);
  const builtin = addBuiltinServices(server, context, Object.keys(services));
  const host =
    options.host.includes(':') && !options.host.startsWith('[') ? `[${options.host}]` : options.host;
  const port = await bind(server, `${host}:${options.port}`, grpcCredentials(options.tls));
  log.info({ event: 'grpc.listening', host: options.host, port }, 'gRPC listener is up');

  return {
    port,
    async close(graceMs) {
      if (isClosing) return;
      isClosing = true;
      builtin.close();
      for (const drain of [...context.drains]) drain();
      // drain() sends GOAWAY and cuts what is left after the grace; tryShutdown() tells when all is closed.
      server.drain(`${host}:${port}`, graceMs);
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      log.info({ event: 'grpc.closed', port }, 'gRPC listener is closed');
    },
  };
}

function bind(server: grpc.Server, address: string, credentials: grpc.ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(new FlowError('UNAVAILABLE', `cannot listen on ${address}: ${error.message}`));
      else resolve(port);
    });
  });
}

/** Handlers of streams by rpc path; everything else is unary. */
function streamHandlers(context: GrpcContext): Map<string, unknown> {
  const { scaler } = context;
  const { kv, queues, streams, admin } = context.fabric;

  const enqueue: ReplyProtocol<pb.EnqueueBatch, pb.EnqueueBatchReplyInput> = {
    first: { seq: 0, window: WINDOW },
    accept: ({ caller }, request, done) => queues.enqueueBatch(caller, request, done),
    refused: ({ mutation }, error) => ({ seq: mutation?.seq ?? 0, error: errorMessage(error) }),
  };
  const publish: ReplyProtocol<pb.PublishBatch, pb.PublishBatchReplyInput> = {
    first: { seq: 0, window: WINDOW },
    accept: ({ caller }, request, done) => streams.publishBatch(caller, request, done),
    refused: ({ mutation }, error) => ({ seq: mutation?.seq ?? 0, error: errorMessage(error) }),
  };
  const pipelinePath = '/flowmesh.v1.Kv/Pipeline';
  const pipeline: ReplyProtocol<pb.KvRequest, pb.KvResponseInput> = {
    accept({ caller }, request, done) {
      const failed = (error: unknown) => done({ error: errorMessage(context.refuse(error, pipelinePath)) });
      kv.execute(caller, request).then(done, failed);
    },
    refused: (_request, error) => ({ error: errorMessage(error) }),
  };

  const path = (name: string) => `/flowmesh.v1.${name}`;
  // KEDA takes an end for one, and asks again soon; after an error it waits for up to a minute.
  const scaling = <Request, Response>(name: string, open: Feed<Request, Response>) => {
    const full = `/externalscaler.ExternalScaler/${name}`;
    return [full, feedHandler(context, full, open, (stream) => stream.finish())] as const;
  };
  return new Map<string, unknown>([
    scaling('StreamIsActive', scaler.openIsActive),
    scaling('StreamMetricSpec', scaler.openMetricSpec),
    [pipelinePath, replyHandler(context, pipelinePath, pipeline)],
    [path('Queues/EnqueueStream'), replyHandler(context, path('Queues/EnqueueStream'), enqueue)],
    [path('Queues/Work'), sessionHandler(context, path('Queues/Work'), workProtocol(context))],
    [path('Streams/PublishStream'), replyHandler(context, path('Streams/PublishStream'), publish)],
    [path('Streams/Consume'), sessionHandler(context, path('Streams/Consume'), consumeProtocol(context))],
    [path('Streams/Follow'), feedHandler(context, path('Streams/Follow'), streams.openFollow.bind(streams))],
    [path('Admin/WatchAdmin'), feedHandler(context, path('Admin/WatchAdmin'), admin.openWatch.bind(admin))],
    [path('Kv/Watch'), feedHandler(context, path('Kv/Watch'), kv.openWatch.bind(kv))],
  ]);
}

function addServices(server: grpc.Server, context: GrpcContext): void {
  const unary: Record<string, Record<string, unknown>> = { ...unaryMethods(context) };
  const streaming = streamHandlers(context);
  for (const [service, definition] of Object.entries(services)) {
    const handlers: Record<string, unknown> = {};
    for (const [name, { path }] of Object.entries(definition)) {
      context.access.isOpen(path);
      const method = unary[service]?.[name] as Parameters<typeof unaryHandler>[2] | undefined;
      handlers[name] = streaming.get(path) ?? (method && unaryHandler(context, path, method));
      if (!handlers[name]) throw new Error(`${path} has no handler`);
    }
    server.addService(guarded(definition), handlers as grpc.UntypedServiceImplementation);
  }
}
