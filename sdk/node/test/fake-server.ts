// A FlowMesh server in memory, just good enough to test the client: it can be killed in mid-flight, keep
// replies to itself, and refuse. Mutations are deduplicated by (producerId, seq) like in the real one.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import {
  AdminService,
  KvService,
  QueuesService,
  StreamsService,
  TransactionsService,
} from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { FakeKv } from './fake-kv.ts';
import { FakeQueues } from './fake-queues.ts';
import { FakeStreams } from './fake-streams.ts';

export const WINDOW = { messages: 64, bytes: 8 * 1024 * 1024 };

export class FakeServer {
  readonly queues = new FakeQueues();
  readonly streams = new FakeStreams();
  readonly kv = new FakeKv();
  port = 0;
  window = WINDOW;
  /** Batches that were taken, by kind. */
  readonly batches = { enqueue: 0, publish: 0, kv: 0, repeated: 0 };
  /** Mutations as they came. */
  readonly mutations: pb.Mutation[] = [];
  /** Transactions as they came. */
  readonly transactions: pb.TransactionRequest[] = [];
  /** That many replies of batches are lost. */
  loseReplies = 0;
  /** The connection breaks when they are. */
  isCutThen = false;
  /** How long replies of batches wait, in ms; -1: they leave at once. */
  replyAfterMs = -1;
  /** Answers batches with an error while it returns one. */
  refuse: (name: string) => FlowError | undefined = () => undefined;
  /** Unary calls fail while it returns an error. */
  refuseUnary: (method: string) => FlowError | undefined = () => undefined;
  /** The metadata of every call. */
  readonly seen: grpc.Metadata[] = [];
  #server: grpc.Server | undefined;
  readonly #replies = new Map<string, unknown>();

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Binds the same port again after `kill`. */
  async start(): Promise<this> {
    const server = new grpc.Server({ 'grpc.max_receive_message_length': 16 * 1024 * 1024 });
    server.addService(QueuesService as unknown as grpc.ServiceDefinition, {
      ...this.#unary(this.queues.handlers()),
      enqueueStream: this.#replying<pb.EnqueueBatch, pb.EnqueueBatchReplyInput>('enqueue', {
        first: () => ({ seq: 0, window: this.window }),
        name: ({ queue }) => queue,
        apply: (batch) => this.queues.enqueue(batch),
        refused: (batch, error) => ({ seq: batch.mutation?.seq, error }),
      }),
      work: (call: grpc.ServerDuplexStream<pb.WorkRequest, pb.WorkResponseInput>) => {
        this.seen.push(call.metadata);
        this.queues.work(call);
      },
    });
    server.addService(StreamsService as unknown as grpc.ServiceDefinition, {
      ...this.#unary(this.streams.handlers()),
      publishStream: this.#replying<pb.PublishBatch, pb.PublishBatchReplyInput>('publish', {
        first: () => ({ seq: 0, window: this.window }),
        name: ({ stream }) => stream,
        apply: (batch) => this.streams.publish(batch),
        refused: (batch, error) => ({ seq: batch.mutation?.seq, error }),
      }),
      consume: (call: grpc.ServerDuplexStream<pb.ConsumeRequest, pb.ConsumeResponseInput>) =>
        this.streams.consume(call),
      follow: (call: grpc.ServerWritableStream<pb.FollowRequest, pb.RecordChunkInput>) =>
        this.streams.follow(call),
    });
    server.addService(KvService as unknown as grpc.ServiceDefinition, {
      pipeline: this.#replying<pb.KvRequest, pb.KvResponseInput>('kv', {
        name: ({ keyspace }) => keyspace,
        apply: (request) => this.kv.execute(request),
        refused: (_, error) => ({ error }),
      }),
    });
    server.addService(AdminService as unknown as grpc.ServiceDefinition, this.#unary(this.streams.admin()));
    server.addService(
      TransactionsService as unknown as grpc.ServiceDefinition,
      this.#unary({
        commit: (request: pb.TransactionRequest) => {
          this.transactions.push(request);
          return { results: request.ops.map((op) => this.#transactionOp(op)) };
        },
      }),
    );
    this.port = await new Promise<number>((resolve, reject) => {
      const credentials = grpc.ServerCredentials.createInsecure();
      server.bindAsync(this.address, credentials, (error, port) => (error ? reject(error) : resolve(port)));
    });
    this.#server = server;
    return this;
  }

  /** Every connection breaks; nothing is said. */
  kill(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  async restart(): Promise<void> {
    this.kill();
    await this.start();
  }

  close(): void {
    this.kill();
    this.queues.close();
    this.streams.close();
  }

  #transactionOp(op: pb.TransactionOp): pb.TransactionResultInput {
    if (op.kv !== null) return { kv: this.kv.execute(op.kv) };
    if (op.enqueue !== null) return { enqueue: { jobs: [{ id: '0-1-tx' }] } };
    if (op.publish !== null) return { publish: { offsets: [{ partition: 0, offset: 7 }] } };
    if (op.settle !== null) return { settle: { results: op.settle.settlements.map(() => ({})) } };
    return { commit: { results: op.commit?.offsets.map(() => ({})) } };
  }

  #unary(handlers: Record<string, (request: never) => unknown>) {
    return Object.fromEntries(
      Object.entries(handlers).map(([name, handle]) => [
        name,
        (call: grpc.ServerUnaryCall<unknown, unknown>, callback: grpc.sendUnaryData<unknown>) => {
          this.seen.push(call.metadata);
          try {
            const refusal = this.refuseUnary(name);
            if (refusal !== undefined) throw refusal;
            callback(null, handle(call.request as never));
          } catch (error) {
            callback(statusOf(error as FlowError));
          }
        },
      ]),
    );
  }

  #replying<Request extends { mutation: pb.Mutation | null }, Reply>(
    kind: 'enqueue' | 'publish' | 'kv',
    protocol: {
      first?: () => Reply;
      name(request: Request): string;
      apply(request: Request): Reply;
      refused(request: Request, error: pb.ErrorInput): Reply;
    },
  ) {
    return (call: grpc.ServerDuplexStream<Request, Reply>) => {
      this.seen.push(call.metadata);
      if (protocol.first !== undefined) call.write(protocol.first());
      call.on('error', () => {});
      call.on('end', () => call.end());
      call.on('data', (request: Request) => {
        this.batches[kind]++;
        const reply = this.#once(request.mutation, () => {
          const error = this.refuse(protocol.name(request)) ?? this.#overtaking(request);
          if (error === undefined) return { isDone: true, reply: protocol.apply(request) };
          return { isDone: false, reply: protocol.refused(request, wireOf(error)) };
        });
        if (this.loseReplies > 0) {
          this.loseReplies--;
          if (this.loseReplies === 0 && this.isCutThen)
            call.emit('error', { code: grpc.status.UNAVAILABLE, details: 'cut' });
          return;
        }
        if (this.replyAfterMs < 0) call.write(reply);
        else setTimeout(() => call.write(reply), this.replyAfterMs);
      });
    };
  }

  #overtaking(request: { mutation: pb.Mutation | null; afterSeq?: number }): FlowError | undefined {
    const { mutation, afterSeq = 0 } = request;
    if (afterSeq === 0 || this.#replies.has(`${mutation?.producerId} ${afterSeq}`)) return undefined;
    return new FlowError('OUT_OF_ORDER', `${afterSeq} was not carried out`);
  }

  #once<Reply>(mutation: pb.Mutation | null, apply: () => { isDone: boolean; reply: Reply }): Reply {
    if (mutation === null) return apply().reply;
    this.mutations.push(mutation);
    const key = `${mutation.producerId} ${mutation.seq}`;
    if (this.#replies.has(key)) {
      this.batches.repeated++;
      return this.#replies.get(key) as Reply;
    }
    const { isDone, reply } = apply();
    if (isDone) this.#replies.set(key, reply);
    if (this.#replies.size > 5000) this.#replies.delete(this.#replies.keys().next().value as string);
    return reply;
  }
}

const wireOf = ({ code, message, retryAfterMs }: FlowError): pb.ErrorInput => ({
  code,
  message,
  retryAfterMs,
});

function statusOf(error: FlowError): Partial<grpc.StatusObject> {
  const metadata = new grpc.Metadata();
  if (!(error instanceof FlowError)) return { code: grpc.status.INTERNAL, details: String(error) };
  metadata.set('flowmesh-code', error.code);
  if (error.retryAfterMs !== undefined) metadata.set('flowmesh-retry-after-ms', String(error.retryAfterMs));
  return { code: grpc.status.FAILED_PRECONDITION, details: error.message, metadata };
}
