// Keeps the leases of all workers of a client alive from a thread of its own, so that a handler that computes
// for minutes keeps its job. Owns the thread and the heartbeat that tells it the main thread still lives.
//   R1. One thread per client, started with the first worker; it does not keep the process alive.
//   R2. It renews only while the heartbeat is younger than `blockedTimeout`: a main thread that hangs for
//       ever must lose its leases.
//   R3. Where a thread cannot be started (a bundle without the file), the main thread renews.
import { Worker as Thread } from 'node:worker_threads';
import type { Connection, Endpoint } from './connection.ts';

const BEAT_MS = 1000;

export interface RenewedSession {
  queue: string;
  sessionId: string;
  visibilityMs: number;
}

export interface RenewalThreadData {
  endpoint: Endpoint;
  /** One BigInt64: `process.hrtime.bigint()` of the main thread's last sign of life. */
  heartbeat: SharedArrayBuffer;
  blockedTimeoutMs: number;
}

export type RenewalMessage = ({ kind: 'add' } & RenewedSession) | { kind: 'remove'; sessionId: string };

/** A third of the visibility: two renewals may fail. */
export const renewEveryMs = (visibilityMs: number): number => Math.max(50, Math.floor(visibilityMs / 3));

export class Renewal {
  readonly #connection: Connection;
  readonly #blockedTimeoutMs: number;
  readonly #sessions = new Map<string, RenewedSession>();
  readonly #beats = new BigInt64Array(new SharedArrayBuffer(8));
  #thread: Thread | undefined;
  #beat: NodeJS.Timeout | undefined;
  /** R3 */
  readonly #fallbacks = new Map<string, NodeJS.Timeout>();
  #hasFailed = false;

  constructor(connection: Connection, blockedTimeoutMs: number) {
    this.#connection = connection;
    this.#blockedTimeoutMs = blockedTimeoutMs;
  }

  add(session: RenewedSession): void {
    this.#sessions.set(session.sessionId, session);
    if (!this.#hasFailed) this.#thread ??= this.#start();
    if (this.#hasFailed) this.#renewHere(session);
    else this.#post({ kind: 'add', ...session });
  }

  remove(sessionId: string): void {
    this.#sessions.delete(sessionId);
    this.#post({ kind: 'remove', sessionId });
    clearInterval(this.#fallbacks.get(sessionId));
    this.#fallbacks.delete(sessionId);
  }

  async close(): Promise<void> {
    for (const sessionId of [...this.#sessions.keys()]) this.remove(sessionId);
    clearInterval(this.#beat);
    await this.#thread?.terminate();
    this.#thread = undefined;
  }

  #post(message: RenewalMessage): void {
    this.#thread?.postMessage(message);
  }

  #start(): Thread | undefined {
    const { address, token, tls } = this.#connection.options;
    const workerData: RenewalThreadData = {
      endpoint: { address, token, tls },
      heartbeat: this.#beats.buffer as SharedArrayBuffer,
      blockedTimeoutMs: this.#blockedTimeoutMs,
    };
    this.#beat = setInterval(() => this.#live(), BEAT_MS);
    this.#beat.unref();
    this.#live();
    try {
      const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
      const thread = new Thread(new URL(`./renewal-thread.${extension}`, import.meta.url), { workerData });
      thread.unref();
      thread.on('error', (error) => this.#onFailed(error));
      return thread;
    } catch (error) {
      this.#onFailed(error);
      return undefined;
    }
  }

  #live(): void {
    Atomics.store(this.#beats, 0, process.hrtime.bigint());
  }

  /** R3 */
  #onFailed(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#thread = undefined;
    process.emitWarning(
      `the lease renewal thread could not run (${String(error)}); leases are renewed by the main thread, ` +
        'and a handler that blocks it for longer than the visibility timeout loses its job',
      { code: 'FLOWMESH_RENEWAL' },
    );
    for (const session of this.#sessions.values()) this.#renewHere(session);
  }

  #renewHere({ queue, sessionId, visibilityMs }: RenewedSession): void {
    const { queues } = this.#connection;
    const everyMs = renewEveryMs(visibilityMs);
    clearInterval(this.#fallbacks.get(sessionId));
    const timer = setInterval(() => {
      const options = { deadline: everyMs / 1000 };
      this.#connection.call(queues, queues.renewSession, { queue, sessionId }, options).catch(() => {});
    }, everyMs);
    timer.unref();
    this.#fallbacks.set(sessionId, timer);
  }
}
