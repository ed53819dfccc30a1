// A gRPC channel with its stubs, the unary calls over it, and lanes for the streams that stay.
//   N1. Every mutation carries (producerId, seq), so a repeat after a lost reply cannot take effect twice.
//   N2. Errors that say "again later" are retried with backoff until the call's deadline.
import { FlowError, RecordBatchBuilder } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import {
  AdminClient,
  HistoryClient,
  KvClient,
  QueuesClient,
  StreamsClient,
  TransactionsClient,
  type UnaryClient,
} from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { backoffMs, pause } from './backoff.ts';
import { Budget } from './budget.ts';
import { type CallOptions, deadlineExceeded, deadlineOf } from './calls.ts';
import { DeadlineTimer, type Watched } from './deadlines.ts';
import { cancelled, clientClosed, fromStatus } from './errors.ts';
import { Lanes } from './lanes.ts';
import { MutationIds } from './mutation-ids.ts';
import type { Cause } from './origin.ts';
import { type Channel, RenewedChannel } from './renewed-channel.ts';

export interface TlsOptions {
  /** PEM. Default: the well-known authorities. */
  ca?: string | Uint8Array;
  /** PEM of the client's certificate and key, for mTLS. */
  cert?: string | Uint8Array;
  key?: string | Uint8Array;
  /** The name in the server's certificate, when it is not that of the address. */
  serverName?: string;
}

/** What it takes to reach the server; also what the renewal thread is given, so plain data only. */
export interface Endpoint {
  address: string;
  token: string | undefined;
  tls: TlsOptions | true | undefined;
}

export interface ConnectionOptions extends Endpoint {
  deadlineMs: number;
  producerId: string;
  pendingMax: number;
  pendingBytesMax: number;
}

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 2000,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Node's default of 64 KiB would stall every batch for a round trip.
  'grpc-node.flow_control_window': 4 * 1024 * 1024,
};

const SPARE_BUILDERS_MAX = 16;

export class Connection {
  readonly options: ConnectionOptions;
  readonly channel: Channel;
  readonly kv: KvClient;
  readonly queues: QueuesClient;
  readonly streams: StreamsClient;
  readonly transactions: TransactionsClient;
  readonly admin: AdminClient;
  /** For streams that stay open. */
  readonly lanes: Lanes;
  readonly history: HistoryClient;
  readonly deadlines = new DeadlineTimer();
  readonly budget: Budget;
  isClosed = false;
  /** Empty builders with the buffers they have grown. */
  readonly #spareBuilders: RecordBatchBuilder[] = [];
  readonly #mutations: MutationIds;

  constructor(options: ConnectionOptions) {
    this.options = options;
    this.#mutations = new MutationIds(`${options.producerId}.u`);
    this.budget = new Budget(options.pendingMax, options.pendingBytesMax);
    const credentials = grpc.credentials.createInsecure();
    this.channel = channelTo(options);
    this.lanes = new Lanes(this.channel, (ofLane) => channelTo(options, ofLane));
    // With a channel given, a stub looks at neither address nor credentials.
    const stub = { channelOverride: this.channel };
    this.kv = new KvClient('', credentials, stub);
    this.queues = new QueuesClient('', credentials, stub);
    this.streams = new StreamsClient('', credentials, stub);
    this.transactions = new TransactionsClient('', credentials, stub);
    this.admin = new AdminClient('', credentials, stub);
    this.history = new HistoryClient('', credentials, stub);
  }

  /** Resolves when the server can be reached; UNAVAILABLE after `waitMs`. */
  ready(waitMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => reject(cancelled(signal as AbortSignal));
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      this.admin.waitForReady(Date.now() + waitMs, (error) => {
        signal?.removeEventListener('abort', abort);
        if (error === undefined) return resolve();
        reject(
          new FlowError('UNAVAILABLE', `no connection to ${this.options.address} within ${waitMs} ms`, {
            cause: error,
          }),
        );
      });
    });
  }

  takeBuilder(): RecordBatchBuilder {
    return this.#spareBuilders.pop() ?? new RecordBatchBuilder();
  }

  giveBuilder(builder: RecordBatchBuilder): void {
    if (this.#spareBuilders.length < SPARE_BUILDERS_MAX) this.#spareBuilders.push(builder);
  }

  metadata(): grpc.Metadata {
    return metadataOf(this.options);
  }

  /** Resolves when there may be room for more calls, or the group needs none any more. */
  async room(group: Watched & { readonly settled: Promise<void> }): Promise<void> {
    this.deadlines.watch(group);
    await Promise.race([this.budget.room(), group.settled]);
  }

  /** The next (producerId, seq) for a unary mutation, to be passed to `call` with the request (N1). */
  mutation(cause?: Cause): pb.MutationInput {
    return this.#mutations.next(cause);
  }

  /** A unary call with deadline, abort and retries (N2). */
  async call<Request, Response>(
    stub: grpc.Client,
    method: UnaryClient<Request, Response>,
    request: Request,
    options?: CallOptions,
  ): Promise<Response> {
    const { mutation } = request as { mutation?: pb.MutationInput | null };
    try {
      return await this.#repeat(stub, method, request, options);
    } finally {
      if (mutation) this.#mutations.settled(mutation);
    }
  }

  async #repeat<Request, Response>(
    stub: grpc.Client,
    method: UnaryClient<Request, Response>,
    request: Request,
    options: CallOptions | undefined,
  ): Promise<Response> {
    const deadlineMs = deadlineOf(options, this.options.deadlineMs);
    for (let attempt = 0; ; attempt++) {
      if (this.isClosed) throw clientClosed();
      try {
        return await this.#once(stub, method, request, deadlineMs, options?.signal);
      } catch (error) {
        if (!(error instanceof FlowError) || error.retry !== 'backoff') throw error;
        const waitMs = Math.max(backoffMs(attempt), error.retryAfterMs ?? 0);
        if (performance.now() + waitMs >= deadlineMs) throw error;
        await pause(waitMs, options?.signal);
      }
    }
  }

  #once<Request, Response>(
    stub: grpc.Client,
    method: UnaryClient<Request, Response>,
    request: Request,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(cancelled(signal));
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) return reject(deadlineExceeded());
      const abort = () => call.cancel();
      const callOptions = { deadline: Date.now() + leftMs };
      const call = method.call(stub, request, this.metadata(), callOptions, (error, response) => {
        signal?.removeEventListener('abort', abort);
        if (error === null) resolve(response as Response);
        else reject(signal?.aborted ? cancelled(signal) : fromStatus(error));
      });
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  close(): void {
    this.isClosed = true;
    this.lanes.close();
  }
}

export function metadataOf(endpoint: Endpoint): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (endpoint.token !== undefined) metadata.set('authorization', `Bearer ${endpoint.token}`);
  return metadata;
}

/** `own`: beside those of every channel. */
export function channelTo(endpoint: Endpoint, own: grpc.ChannelOptions = {}): Channel {
  const credentials = credentialsOf(endpoint);
  const options = { ...channelOptionsOf(endpoint), ...own };
  return new RenewedChannel(
    (more) => new grpc.Channel(endpoint.address, credentials, { ...options, ...more }),
  );
}

function credentialsOf({ tls }: Endpoint): grpc.ChannelCredentials {
  if (tls === undefined) return grpc.credentials.createInsecure();
  if (tls === true) return grpc.credentials.createSsl();
  const pem = (value: string | Uint8Array | undefined) => (value === undefined ? null : Buffer.from(value));
  return grpc.credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert));
}

function channelOptionsOf({ tls }: Endpoint): grpc.ChannelOptions {
  const serverName = tls === true ? undefined : tls?.serverName;
  return serverName === undefined
    ? CHANNEL_OPTIONS
    : { ...CHANNEL_OPTIONS, 'grpc.ssl_target_name_override': serverName };
}
