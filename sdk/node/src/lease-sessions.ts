// The server-side sessions that hold a worker's leases: one for each connection the worker has had.
//   L1. Every connection has a session of its own. What the server granted to a connection that broke may
//       never have arrived; nobody here can name it, so it is released by ending that session.
//   L2. A session of a former connection is renewed until the last job it brought is settled, then ended.
import { randomBytes } from 'node:crypto';
import type { Connection } from './connection.ts';
import type { Renewal } from './renewal.ts';

export class LeaseSession {
  readonly id = randomBytes(12).toString('hex');
  /** Jobs it brought that are not settled yet. */
  held = 0;
  isWelcome = false;
}

export class LeaseSessions {
  readonly #connection: Connection;
  readonly #renewal: Renewal;
  readonly #queue: string;
  readonly #former = new Set<LeaseSession>();
  current = new LeaseSession();

  constructor(connection: Connection, renewal: Renewal, queue: string) {
    this.#connection = connection;
    this.#renewal = renewal;
    this.#queue = queue;
  }

  welcomed(visibilityMs: number): void {
    this.current.isWelcome = true;
    this.#renewal.add({ queue: this.#queue, sessionId: this.current.id, visibilityMs });
  }

  /** The connection broke; the next one begins with another session. */
  broken(): void {
    const session = this.current;
    if (!session.isWelcome) return;
    this.current = new LeaseSession();
    this.#former.add(session);
    this.settled(session);
  }

  /** A job that the session brought is settled. */
  settled(session: LeaseSession): void {
    if (session.held > 0 || !this.#former.delete(session)) return;
    // If this fails, its leases end at their deadline.
    void this.#end(session).catch(() => {});
  }

  /** Ends all of them: what is not settled is released, uncounted. */
  async endAll(): Promise<void> {
    const sessions = [...this.#former, ...(this.current.isWelcome ? [this.current] : [])];
    this.#former.clear();
    await Promise.all(sessions.map((session) => this.#end(session)));
  }

  async #end({ id }: LeaseSession): Promise<void> {
    this.#renewal.remove(id);
    const { queues } = this.#connection;
    const request = { queue: this.#queue, sessionId: id };
    await this.#connection.call(queues, queues.endSession, request, { deadline: '5s' });
  }
}
