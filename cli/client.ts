// The gRPC API as plain async functions. Commands speak the protocol itself, not an SDK: what was typed
// leaves byte for byte, and what is stored is shown as it is stored.
//   A1. Every mutation carries (producerId, seq), so repeating it after a lost answer is safe.
//   A2. A patient call repeats what is answered with "again later" until its deadline; any other says so at
//       once.
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ERRORS, FlowError, isErrorCode } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import {
  AdminClient,
  HistoryClient,
  KvClient,
  QueuesClient,
  StreamsClient,
  type UnaryClient,
} from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { CliError, unreachable } from './failure.ts';

export interface Target {
  address: string;
  token: string | undefined;
  /** A file in PEM; `system`: the well-known authorities. */
  tlsCa?: string | undefined;
  /** The same as text, as binding Secrets have it. */
  caText?: string | undefined;
  tlsCert?: string | undefined;
  tlsKey?: string | undefined;
}

export interface CallOptions {
  deadlineMs?: number;
  patient?: boolean;
  signal?: AbortSignal | undefined;
}

type Unary<Request, Response> = (request: Request, options?: CallOptions) => Promise<Response>;

/** What commands need of a server; tests hand in their own. */
export type Api = ReturnType<typeof api> & {
  /** For requests that change something (A1). */
  mutation(): pb.MutationInput;
  close(): void;
};

const deadlineDefaultMs = 15_000;
const probeMs = 3000;

export async function connect(target: Target): Promise<Api> {
  await probe(target.address);
  const credentials = await credentialsOf(target);
  const channel = new grpc.Channel(target.address, credentials, {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
  });
  const metadata = new grpc.Metadata();
  if (target.token) metadata.set('authorization', `Bearer ${target.token}`);
  const producerId = `cli-${randomUUID()}`;
  let seq = 0;
  const stub = { channelOverride: channel };
  const stubs = {
    admin: new AdminClient(target.address, credentials, stub),
    kv: new KvClient(target.address, credentials, stub),
    queues: new QueuesClient(target.address, credentials, stub),
    streams: new StreamsClient(target.address, credentials, stub),
    history: new HistoryClient(target.address, credentials, stub),
  };
  return {
    ...api(stubs, metadata),
    mutation: () => ({ producerId, seq: ++seq }),
    close: () => channel.close(),
  };
}

/** TLS where anything of it is named. */
async function credentialsOf({ tlsCa, caText, tlsCert, tlsKey }: Target): Promise<grpc.ChannelCredentials> {
  if ([tlsCa, caText, tlsCert, tlsKey].every((each) => !each)) return grpc.credentials.createInsecure();
  if (!tlsCert !== !tlsKey) {
    const what = 'a client certificate needs its key, and a key its certificate';
    throw new CliError(what, 'give --tls-cert and --tls-key', 2);
  }
  const read = async (path: string | undefined): Promise<Buffer | null> => (path ? readFile(path) : null);
  const named = tlsCa === 'system' ? null : await read(tlsCa);
  const authorities = named ?? (caText && !tlsCa ? Buffer.from(caText) : null);
  return grpc.credentials.createSsl(authorities, await read(tlsKey), await read(tlsCert));
}

interface Stubs {
  admin: AdminClient;
  kv: KvClient;
  queues: QueuesClient;
  streams: StreamsClient;
  history: HistoryClient;
}

function api({ admin, kv, queues, streams, history }: Stubs, metadata: grpc.Metadata) {
  const on =
    (client: grpc.Client) =>
    <Request, Response>(method: UnaryClient<Request, Response>): Unary<Request, Response> =>
    (request, options = {}) =>
      withRetries((deadlineMs) => {
        return once(client, method, { request, metadata, deadlineMs, signal: options.signal });
      }, options);
  const [a, k, q, s, h] = [on(admin), on(kv), on(queues), on(streams), on(history)];
  return {
    execute: k(kv.execute),
    watch: (request: pb.KvWatchRequestInput, signal: AbortSignal): AsyncIterable<pb.KvWatchResponse> =>
      chunks(() => kv.watch(request, metadata), signal),
    enqueue: q(queues.enqueue),
    enqueueFlow: q(queues.enqueueFlow),
    listChildren: q(queues.listChildren),
    lease: q(queues.lease),
    settle: q(queues.settle),
    getJob: q(queues.getJob),
    listJobs: q(queues.listJobs),
    jobHistory: q(queues.jobHistory),
    cancelJob: q(queues.cancelJob),
    purge: q(queues.purge),
    setDraining: q(queues.setDraining),
    setPaused: q(queues.setPaused),
    redrive: q(queues.redrive),
    startRedrive: q(queues.startRedrive),
    getRedrive: q(queues.getRedrive),
    cancelRedrive: q(queues.cancelRedrive),
    listEffects: h(history.listEffects),
    getQueueAt: h(history.getQueueAt),
    listJobsAt: h(history.listJobsAt),
    publish: s(streams.publish),
    read: s(streams.read),
    seek: s(streams.seek),
    getGroup: s(streams.getGroup),
    listGroups: s(streams.listGroups),
    follow: (request: pb.FollowRequestInput, signal: AbortSignal): AsyncIterable<pb.RecordChunk> =>
      chunks(() => streams.follow(request, metadata), signal),
    releaseOwner: a(admin.releaseOwner),
    applyQueue: a(admin.applyQueue),
    getQueue: a(admin.getQueue),
    listQueues: a(admin.listQueues),
    deleteQueue: a(admin.deleteQueue),
    applyStream: a(admin.applyStream),
    getStream: a(admin.getStream),
    listStreams: a(admin.listStreams),
    deleteStream: a(admin.deleteStream),
    applySchema: a(admin.applySchema),
    getSchema: a(admin.getSchema),
    listSchemas: a(admin.listSchemas),
    deleteSchema: a(admin.deleteSchema),
    applyKeyspace: a(admin.applyKeyspace),
    listKeyspaces: a(admin.listKeyspaces),
    getCluster: a(admin.getCluster),
    getScaling: a(admin.getScaling),
  };
}

interface OnceOptions<Request> {
  request: Request;
  metadata: grpc.Metadata;
  deadlineMs: number;
  signal: AbortSignal | undefined;
}

function once<Request, Response>(
  client: grpc.Client,
  method: UnaryClient<Request, Response>,
  { request, metadata, deadlineMs, signal }: OnceOptions<Request>,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const abort = () => call.cancel();
    const call = method.call(client, request, metadata, { deadline: deadlineMs }, (error, response) => {
      signal?.removeEventListener('abort', abort);
      if (error === null) resolve(response as Response);
      else reject(fromStatus(error));
    });
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

async function withRetries<Response>(
  attempt: (deadlineMs: number) => Promise<Response>,
  { deadlineMs = deadlineDefaultMs, patient = false, signal }: CallOptions,
): Promise<Response> {
  const endMs = Date.now() + deadlineMs;
  for (let waitMs = 50; ; waitMs = Math.min(2000, waitMs * 2)) {
    try {
      return await attempt(endMs);
    } catch (error) {
      if (!patient || !(error instanceof FlowError) || error.retry !== 'backoff') throw error; // A2
      const pauseMs = Math.max(waitMs, error.retryAfterMs ?? 0);
      if (Date.now() + pauseMs >= endMs) throw error;
      await sleep(pauseMs, undefined, { signal });
    }
  }
}

/** Ends when `signal` aborts. */
async function* chunks<Chunk>(
  open: () => grpc.ClientReadableStream<Chunk>,
  signal: AbortSignal,
): AsyncGenerator<Chunk> {
  if (signal.aborted) return;
  const call = open();
  const abort = () => call.cancel();
  signal.addEventListener('abort', abort, { once: true });
  try {
    for await (const chunk of call) yield chunk as Chunk;
  } catch (error) {
    if (signal.aborted) return;
    throw fromStatus(error as grpc.ServiceError);
  } finally {
    signal.removeEventListener('abort', abort);
    call.cancel();
  }
}

/** A connection that is refused shows at once; gRPC itself would go on trying until the deadline. */
async function probe(address: string): Promise<void> {
  const { host, port } = hostPort(address);
  await new Promise<void>((resolve, reject) => {
    const socket = connectTcp({ host, port, timeout: probeMs });
    const fail = () => {
      socket.destroy();
      const { message, hint } = unreachable(address);
      reject(new CliError(message, hint));
    };
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('timeout', fail);
    socket.once('error', fail);
  });
}

export function hostPort(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/\s[\]]+)):([0-9]{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host !== undefined && port > 0 && port < 65_536) return { host, port };
  throw new CliError(`${address} is not an address`, 'write host:port, such as localhost:7070', 2);
}

/** The code travels as metadata; without it, the answer came from gRPC itself or from a proxy. */
function fromStatus(error: grpc.ServiceError): FlowError {
  const named = String(error.metadata?.get('flowmesh-code')[0] ?? '');
  const retryAfterMs = Number(error.metadata?.get('flowmesh-retry-after-ms')[0]);
  const code = isErrorCode(named) ? named : (codeOfStatus[error.code] ?? 'INTERNAL');
  const options = { cause: error, ...(retryAfterMs > 0 ? { retryAfterMs } : {}) };
  return new FlowError(code, error.details || ERRORS[code].title, options);
}

const codeOfStatus: Readonly<Record<number, FlowError['code']>> = {
  [grpc.status.CANCELLED]: 'CANCELLED',
  [grpc.status.INVALID_ARGUMENT]: 'INVALID_ARGUMENT',
  [grpc.status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  [grpc.status.PERMISSION_DENIED]: 'PERMISSION_DENIED',
  [grpc.status.UNIMPLEMENTED]: 'UNIMPLEMENTED',
  [grpc.status.UNAVAILABLE]: 'UNAVAILABLE',
  [grpc.status.UNAUTHENTICATED]: 'UNAUTHENTICATED',
};
