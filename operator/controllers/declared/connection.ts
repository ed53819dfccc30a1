// The admin API of one data plane as plain async functions over one channel.
//   N1. A call fails within CALL_MS, and at once when the channel is broken: it never holds a worker long.
//   N2. A connection is dropped by whoever finds it broken; it does not heal what the server says no to.
import { FlowError, isErrorCode } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { AdminClient, type UnaryClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';

export interface Endpoint {
  /** host:port */
  readonly address: string;
  readonly token?: string | undefined;
  /** PEM; unset: no TLS. */
  readonly authorities?: string | undefined;
}

type Call<Request, Response> = (request: Request, signal: AbortSignal) => Promise<Response>;

export interface Connection {
  readonly declareQueue: Call<pb.DeclareQueueRequestInput, pb.DeclareQueueResponse>;
  readonly declareStream: Call<pb.DeclareStreamRequestInput, pb.DeclareStreamResponse>;
  readonly declareSchema: Call<pb.DeclareSchemaRequestInput, pb.DeclareSchemaResponse>;
  readonly deleteQueue: Call<pb.DeleteQueueRequestInput, pb.DeleteQueueResponse>;
  readonly deleteStream: Call<pb.DeleteStreamRequestInput, pb.DeleteStreamResponse>;
  readonly deleteSchema: Call<pb.DeleteSchemaRequestInput, pb.DeleteSchemaResponse>;
  readonly releaseOwner: Call<pb.ReleaseOwnerRequestInput, pb.ReleaseOwnerResponse>;
  readonly listFigures: Call<pb.ListFiguresRequestInput, pb.ListFiguresResponse>;
  readonly getCluster: Call<pb.GetClusterRequestInput, pb.Cluster>;
  readonly getScaling: Call<pb.GetScalingRequestInput, pb.GetScalingResponse>;
  /** Ends with an error when the connection does, in silence when `signal` aborts. */
  watch(signal: AbortSignal): AsyncIterable<pb.WatchAdminResponse>;
  close(): void;
}

const CALL_MS = 10_000;
const CHANNEL: grpc.ChannelOptions = {
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Whoever dials anew must not get the attempt that was stuck: equal channels share theirs otherwise.
  'grpc.use_local_subchannel_pool': 1,
};

/** `wallMs` is for deadlines. */
export function dial({ address, token, authorities }: Endpoint, wallMs: () => number): Connection {
  const credentials =
    authorities === undefined
      ? grpc.credentials.createInsecure()
      : grpc.credentials.createSsl(Buffer.from(authorities));
  const client = new AdminClient(address, credentials, CHANNEL);
  const metadata = new grpc.Metadata();
  if (token !== undefined && token !== '') metadata.set('authorization', `Bearer ${token}`);
  const unary =
    <Request, Response>(method: UnaryClient<Request, Response>): Call<Request, Response> =>
    (request, signal) =>
      new Promise((resolve, reject) => {
        const options = { deadline: wallMs() + CALL_MS };
        const abort = () => call.cancel();
        const call = method.call(client, request, metadata, options, (error, response) => {
          signal.removeEventListener('abort', abort);
          if (error === null) resolve(response as Response);
          else reject(flowErrorOf(error));
        });
        if (signal.aborted) abort();
        else signal.addEventListener('abort', abort, { once: true });
      });
  return {
    declareQueue: unary(client.declareQueue),
    declareStream: unary(client.declareStream),
    declareSchema: unary(client.declareSchema),
    deleteQueue: unary(client.deleteQueue),
    deleteStream: unary(client.deleteStream),
    deleteSchema: unary(client.deleteSchema),
    releaseOwner: unary(client.releaseOwner),
    listFigures: unary(client.listFigures),
    getCluster: unary(client.getCluster),
    getScaling: unary(client.getScaling),
    watch: (signal) => watch(client, metadata, signal),
    close: () => client.close(),
  };
}

async function* watch(client: AdminClient, metadata: grpc.Metadata, signal: AbortSignal) {
  if (signal.aborted) return;
  const call = client.watchAdmin({}, metadata);
  const abort = () => call.cancel();
  signal.addEventListener('abort', abort, { once: true });
  try {
    for await (const message of call) yield message as pb.WatchAdminResponse;
  } catch (error) {
    if (!signal.aborted) throw flowErrorOf(error as grpc.ServiceError);
  } finally {
    signal.removeEventListener('abort', abort);
    call.cancel();
  }
}

/** The code travels as metadata; without it, the answer came from gRPC itself. */
function flowErrorOf(error: grpc.ServiceError): FlowError {
  const named = String(error.metadata?.get('flowmesh-code')[0] ?? '');
  const code = isErrorCode(named) ? named : (CODES[error.code] ?? 'UNAVAILABLE');
  return new FlowError(code, error.details || error.message, { cause: error });
}

const CODES: Readonly<Record<number, FlowError['code']>> = {
  [grpc.status.CANCELLED]: 'CANCELLED',
  [grpc.status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  [grpc.status.PERMISSION_DENIED]: 'PERMISSION_DENIED',
  [grpc.status.UNIMPLEMENTED]: 'UNIMPLEMENTED',
  [grpc.status.UNAUTHENTICATED]: 'UNAUTHENTICATED',
};
