// What happens to workers and consumers when the process is told to end (SIGTERM): they are drained, then the
// process ends as it would have.
//   E1. One listener for all clients of the process, and only while some client has work.
//   E2. Who listens to SIGTERM as well decides when the process ends; then this only drains. It hears of the
//       signal first: who listens once has gone from the list when those behind it are called.
//   E3. A second SIGTERM ends the process at once.
//   E4. The first process of a container ends by exit: the kernel drops a signal without a listener that is
//       sent to it from within, also one from itself (pid_namespaces(7)).

export interface Drainable {
  /** Takes no more work and finishes or gives back what there is, within a bound. Never rejects. */
  drain(): Promise<void>;
  /** Ends the connection: the process ends next. */
  close(): Promise<void>;
}

/** The part of `process` that this needs. */
export interface Signals {
  readonly pid: number;
  prependListener(signal: 'SIGTERM', listener: () => void): unknown;
  off(signal: 'SIGTERM', listener: () => void): unknown;
  listenerCount(signal: 'SIGTERM'): number;
  kill(pid: number, signal: 'SIGTERM'): unknown;
  exit(code: number): unknown;
}

/** What shells say of a process that was ended by SIGTERM: 128 + 15. */
const ENDED_BY_SIGTERM = 143;

export class Termination {
  readonly #process: Signals;
  readonly #clients = new Set<Drainable>();
  #isEnding = false;

  constructor(signals: Signals) {
    this.#process = signals;
  }

  add(client: Drainable): void {
    if (this.#clients.size === 0) this.#process.prependListener('SIGTERM', this.#onSignal);
    this.#clients.add(client);
  }

  remove(client: Drainable): void {
    if (!this.#clients.delete(client) || this.#clients.size > 0) return;
    // While the process ends, the listener stays: without it a signal would not wait for the others.
    if (!this.#isEnding) this.#process.off('SIGTERM', this.#onSignal);
  }

  readonly #onSignal = (): void => {
    const isAlone = this.#process.listenerCount('SIGTERM') === 1; // E2
    if (this.#isEnding) {
      if (isAlone) this.#end(); // E3
      return;
    }
    this.#isEnding = true;
    void this.#drainAll(isAlone);
  };

  async #drainAll(isAlone: boolean): Promise<void> {
    const clients = [...this.#clients];
    await Promise.all(clients.map((client) => client.drain()));
    if (!isAlone) return;
    await Promise.all(clients.map((client) => client.close()));
    this.#end();
  }

  #end(): void {
    const { pid } = this.#process;
    this.#process.off('SIGTERM', this.#onSignal);
    if (pid === 1) this.#process.exit(ENDED_BY_SIGTERM);
    else this.#process.kill(pid, 'SIGTERM');
  }
}

export const termination = new Termination(process);
