// MULTI, EXEC, DISCARD, WATCH and UNWATCH of one connection: what it has queued and what it watches.
//   T1. Nothing is carried out before EXEC; a command that could not be queued spoils the whole.
import type { DataCommand } from './command.ts';
import type { Call, Executor, Place } from './executor.ts';
import { OK, RedisError, type Reply, Simple } from './reply.ts';

const QUEUED_MAX = 10_000;

export class Transaction {
  readonly #executor: Executor;
  readonly #place: () => Place;
  /** Commands between MULTI and EXEC; null: no transaction. */
  #queued: Call[] | null = null;
  #isSpoiled = false;
  /** Revisions by key, as a byte string. */
  readonly #watched = new Map<string, number>();

  constructor(executor: Executor, place: () => Place) {
    this.#executor = executor;
    this.#place = place;
  }

  get isOpen(): boolean {
    return this.#queued !== null;
  }

  /** A command between MULTI and EXEC was refused. */
  spoil(): void {
    if (this.#queued !== null) this.#isSpoiled = true;
  }

  end(): void {
    this.#queued = null;
    this.#isSpoiled = false;
    this.#watched.clear();
  }

  enqueue(name: string, command: DataCommand | undefined, args: readonly Buffer[]): Reply {
    if (command === undefined) throw new RedisError(`ERR ${name} inside MULTI is not supported by FlowMesh`);
    const queued = this.#queued ?? [];
    if (queued.length >= QUEUED_MAX)
      throw new RedisError(`ERR more than ${QUEUED_MAX} commands in a transaction`);
    queued.push({ command, args });
    return new Simple('QUEUED');
  }

  /** How `name` is carried out; undefined: it is none of these commands. */
  commandOf(name: string): ((args: readonly Buffer[]) => Reply | Promise<Reply>) | undefined {
    switch (name) {
      case 'MULTI':
        return () => this.#multi();
      case 'EXEC':
        return () => this.#exec();
      case 'DISCARD':
        return () => this.#discard();
      case 'WATCH':
        return (args) => this.#watch(args);
      case 'UNWATCH':
        return () => this.#unwatch();
      default:
        return undefined;
    }
  }

  #multi(): Reply {
    if (this.#queued !== null) throw new RedisError('ERR MULTI calls can not be nested');
    this.#queued = [];
    return OK;
  }

  async #exec(): Promise<Reply> {
    const queued = this.#queued;
    if (queued === null) throw new RedisError('ERR EXEC without MULTI');
    const watched = new Map(this.#watched);
    const isSpoiled = this.#isSpoiled;
    this.end();
    if (isSpoiled) return new RedisError('EXECABORT Transaction discarded because of previous errors.');
    return this.#executor.runTransaction(this.#place(), queued, watched);
  }

  #discard(): Reply {
    if (this.#queued === null) throw new RedisError('ERR DISCARD without MULTI');
    this.end();
    return OK;
  }

  async #watch(args: readonly Buffer[]): Promise<Reply> {
    if (this.#queued !== null) throw new RedisError('ERR WATCH inside MULTI is not allowed');
    if (args.length < 2) throw new RedisError("ERR wrong number of arguments for 'watch' command");
    for (const key of args.slice(1)) {
      const id = key.toString('latin1');
      if (!this.#watched.has(id)) this.#watched.set(id, await this.#executor.revision(this.#place(), key));
    }
    return OK;
  }

  #unwatch(): Reply {
    this.#watched.clear();
    return OK;
  }
}
