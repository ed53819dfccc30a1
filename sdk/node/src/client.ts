// The client: one connection and what is done over it.
import { randomBytes } from 'node:crypto';
import { Admin } from './admin.ts';
import { pause } from './backoff.ts';
import type { CallOptions } from './calls.ts';
import { Connection, type TlsOptions } from './connection.ts';
import { type Duration, durationMs } from './durations.ts';
import { History } from './history.ts';
import { KeyValue } from './kv.ts';
import { KvRunner } from './kv-pipeline.ts';
import { Queues } from './queues.ts';
import { Renewal } from './renewal.ts';
import { Schemas } from './schemas.ts';
import { Streams } from './streams.ts';
import { type Drainable, termination } from './termination.ts';
import { Transaction, type TransactionResults } from './transaction.ts';

export interface ConnectOptions {
  /** `host:port`. Default: `localhost:7070`. */
  address?: string | undefined;
  /** Sent as `Authorization: Bearer`. */
  token?: string | undefined;
  /** true: TLS with the well-known authorities. Default: no TLS. */
  tls?: TlsOptions | true | undefined;
  /** For calls that give none, and for connecting. Default: 30 s. */
  deadline?: Duration | undefined;
  /** Aborting gives up connecting. */
  signal?: AbortSignal | undefined;
  /**
   * Prefix of the ids under which mutations are deduplicated. Default: random. Two clients must never use the
   * same one, also not one after the other: sequences begin at 1 with every client.
   */
  producerId?: string | undefined;
  /** Calls that may be unanswered; more are refused with RESOURCE_EXHAUSTED. Default: 50,000. */
  pendingMax?: number | undefined;
  /** Bytes of calls that may be unanswered. Default: 64 MiB. */
  pendingBytesMax?: number | undefined;
  /** How long a handler may block the main thread before its leases are no longer renewed. Default: 5 min. */
  blockedTimeout?: Duration | undefined;
  /** Default of the worker option of that name. Default: true. */
  trackEffects?: boolean | undefined;
  /**
   * On SIGTERM, drain workers and consumers: take nothing more, let handlers that run finish within
   * `drainTimeout`, give the rest back at once. Then, unless the program listens to SIGTERM itself, the
   * process ends as it would have. Default: true.
   */
  drainOnSigterm?: boolean | undefined;
  /** How long that may take: less than what the process is given. Default: 20 s (Kubernetes gives 30 s). */
  drainTimeout?: Duration | undefined;
}

const DEFAULT_ADDRESS = 'localhost:7070';
const DEFAULT_DEADLINE = '30s';
const BLOCKED_TIMEOUT = '5m';
const DRAIN_TIMEOUT = '20s';
const PENDING_MAX = 50_000;
const PENDING_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Connects; resolves when the server can be reached.
 * @throws FlowError UNAVAILABLE if that takes longer than `deadline`
 */
export async function connect(options: ConnectOptions = {}): Promise<FlowMesh> {
  const connection = new Connection({
    address: options.address ?? DEFAULT_ADDRESS,
    token: options.token,
    tls: options.tls,
    deadlineMs: durationMs(options.deadline ?? DEFAULT_DEADLINE, 'deadline'),
    producerId: options.producerId ?? randomBytes(12).toString('hex'),
    pendingMax: options.pendingMax ?? PENDING_MAX,
    pendingBytesMax: options.pendingBytesMax ?? PENDING_BYTES_MAX,
  });
  try {
    await connection.ready(connection.options.deadlineMs, options.signal);
  } catch (error) {
    connection.close();
    throw error;
  }
  const blockedTimeoutMs = durationMs(options.blockedTimeout ?? BLOCKED_TIMEOUT, 'blockedTimeout');
  return new FlowMesh(connection, new Renewal(connection, blockedTimeoutMs), {
    tracksEffects: options.trackEffects ?? true,
    drainTimeoutMs: durationMs(options.drainTimeout ?? DRAIN_TIMEOUT, 'drainTimeout'),
    drainsOnSigterm: options.drainOnSigterm ?? true,
  });
}

interface Habits {
  readonly tracksEffects: boolean;
  readonly drainTimeoutMs: number;
  readonly drainsOnSigterm: boolean;
}

export class FlowMesh {
  readonly kv: KeyValue;
  readonly queue: Queues;
  readonly stream: Streams;
  readonly schema: Schemas;
  readonly admin: Admin;
  readonly history: History;
  readonly #connection: Connection;
  readonly #renewal: Renewal;
  readonly #kvRunner: KvRunner;
  readonly #ending: Drainable;
  #closing: Promise<void> | undefined;

  /** @internal Use `connect`. */
  constructor(connection: Connection, renewal: Renewal, habits: Habits) {
    const { tracksEffects, drainTimeoutMs, drainsOnSigterm } = habits;
    this.#ending = {
      drain: () => this.#drain(drainTimeoutMs),
      close: () => this.close({ timeout: '5s' }),
    };
    const onWork = () => {
      if (drainsOnSigterm && this.#closing === undefined) termination.add(this.#ending);
    };
    this.#connection = connection;
    this.#renewal = renewal;
    this.#kvRunner = new KvRunner(connection);
    this.kv = new KeyValue(this.#kvRunner, '');
    this.queue = new Queues(connection, renewal, { tracksEffects, onWork });
    this.stream = new Streams(connection, onWork);
    this.schema = new Schemas(connection);
    this.admin = new Admin(connection);
    this.history = new History(connection);
  }

  /**
   * Commits what `record` calls on the transaction, all or nothing, as one journal entry. Returns their
   * results in order. `record` only records: it reads nothing from the fabric, and nothing happens if it
   * throws.
   * @throws FlowError CROSS_SHARD (names on different shards: give them the same {tag}), LEASE_LOST,
   *   MEMBER_FENCED, and what the calls themselves throw
   */
  async transaction(
    record: (tx: Transaction) => void | Promise<void>,
    options?: CallOptions,
  ): Promise<TransactionResults> {
    const transaction = new Transaction();
    await record(transaction);
    return transaction.send(this.#connection, options);
  }

  /**
   * Drains workers, ends consumers, waits for unanswered calls, closes the connection; after `timeout`
   * (default: 30 s) what is left fails with CLIENT_CLOSED. Idempotent. Call it before the process ends.
   */
  close(options: { timeout?: Duration } = {}): Promise<void> {
    this.#closing ??= this.#close(durationMs(options.timeout ?? '30s', 'timeout'));
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Takes no more work: workers give back what has not started and finish what runs, consumers end their
   * loops behind the event in hand. After `timeout` (default: `drainTimeout`) handlers are told by their
   * signals, and their jobs go to others. The client can still be used. On SIGTERM it is called for you.
   */
  drain(options: { timeout?: Duration } = {}): Promise<void> {
    const { timeout } = options;
    return timeout === undefined ? this.#ending.drain() : this.#drain(durationMs(timeout, 'timeout'));
  }

  async #drain(timeoutMs: number): Promise<void> {
    const timeout = timeoutMs / 1000;
    const workers = [...this.queue.workers].map((worker) => worker.drain({ timeout }));
    const consumers = [...this.stream.consumers].map((consumer) => consumer.drain({ timeout }));
    await Promise.allSettled([...workers, ...consumers]);
  }

  async #close(timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    const workers = [...this.queue.workers].map((worker) => worker.drain({ timeout: timeoutMs / 1000 }));
    const consumers = [...this.stream.consumers].map((consumer) => consumer.close());
    await Promise.all([...workers, ...consumers]);
    termination.remove(this.#ending);
    const pipelines = [this.queue.enqueuer.pipeline, this.stream.publisher.pipeline, this.#kvRunner.pipeline];
    const giveUp = new AbortController();
    await Promise.race([
      Promise.all(pipelines.map((pipeline) => pipeline.drained())),
      pause(Math.max(0, endMs - performance.now()), giveUp.signal),
    ]);
    giveUp.abort();
    this.#connection.isClosed = true;
    for (const pipeline of pipelines) pipeline.close();
    await this.#renewal.close();
    this.#connection.close();
  }
}
