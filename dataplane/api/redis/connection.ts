// One client: requests in, replies out, strictly in order.
//   N1. What has come while the last batch was under way is the next batch.
//   N2. Bounded: beyond REQUESTS_MAX waiting requests, or REQUEST_BYTES_MAX of them, nothing is read from the
//       socket; while the client does not read its replies, nothing is carried out.
//   N3. Nothing that goes wrong here may reach another connection: the socket is closed, and that is all.
import type { Socket } from 'node:net';
import { FlowError } from '@flowmesh/protocol';
import type { Caller } from '../../shard/state-machine.ts';
import { type Access, callerOf, type Identity } from '../access.ts';
import { type DataCommand, type Direct, formOf } from './command.ts';
import { asRedisError } from './errors.ts';
import type { Call, Executor, Place } from './executor.ts';
import { ProtocolError, RequestParser } from './parser.ts';
import { OK, RedisError, type Reply, ReplyWriter, Simple } from './reply.ts';
import { keyspaceOf, SESSION, type ServerParts, type Session } from './session.ts';
import { COMMANDS } from './tables.ts';

const REQUESTS_MAX = 1024;
const REQUEST_BYTES_MAX = 8 * 1024 * 1024;
/** Operations of one request to the shards carry at most this. */
const BATCH_BYTES_MAX = 1024 * 1024;
const QUEUED_MAX = 10_000;

const OPEN_LIMITS = {
  argumentsMax: 20_001,
  argumentBytesMax: 1024 * 1024,
  requestBytesMax: 4 * 1024 * 1024,
};
/** Before it is known who asks. */
const CLOSED_LIMITS = { argumentsMax: 10, argumentBytesMax: 4096, requestBytesMax: 16 * 1024 };

export interface ConnectionParts {
  readonly id: number;
  readonly socket: Socket;
  readonly access: Access;
  readonly executor: Executor;
  readonly server: ServerParts;
  readonly monotonicMs: () => number;
  /** A reason not to serve now: closing, draining. */
  readonly refusal: () => FlowError | null;
  readonly onError: (error: unknown) => void;
}

type DirectCall = Call & { readonly command: Direct };

export class Connection implements Session {
  readonly id: number;
  readonly remote: string;
  protocol: 2 | 3 = 2;
  clientName = '';
  database = 0;
  /** When the request that is not whole yet began, monotonic; 0: there is none. */
  unfinishedSinceMs = 0;
  readonly #waiting: Buffer[][] = [];
  readonly #p: ConnectionParts;
  readonly #writer = new ReplyWriter();
  #parser = new RequestParser(OPEN_LIMITS);
  #identity: Identity | null = null;
  #bytes = 0;
  #isRunning = false;
  #isEnding = false;
  #protocolError: ProtocolError | null = null;
  /** Commands between MULTI and EXEC; null: no transaction. */
  #queued: Call[] | null = null;
  #isSpoiled = false;
  readonly #watched = new Map<string, number>();

  constructor(parts: ConnectionParts) {
    this.#p = parts;
    this.id = parts.id;
    const { socket } = parts;
    this.remote = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? 0}`;
    try {
      this.#identity = parts.access.identify({ authorization: undefined });
    } catch {
      this.#parser = new RequestParser(CLOSED_LIMITS);
    }
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => socket.destroy());
  }

  get place(): Place {
    return { caller: this.#caller, keyspace: keyspaceOf(this.database) };
  }

  get #caller(): Caller {
    if (this.#identity === null) throw new RedisError('NOAUTH Authentication required.');
    return callerOf(this.#identity, { deadlineMs: 0, traceparent: undefined });
  }

  authenticate(password: string): void {
    try {
      this.#identity = this.#p.access.identify({ authorization: `Bearer ${password}` });
      this.#parser = new RequestParser(OPEN_LIMITS);
    } catch (error) {
      throw asRedisError(error);
    }
  }

  /** Nothing is under way. */
  get isIdle(): boolean {
    return !this.#isRunning;
  }

  quit(): void {
    this.#isEnding = true;
  }

  #receive(chunk: Buffer): void {
    const { socket } = this.#p;
    try {
      this.#parser.feed(chunk, (request) => {
        this.#waiting.push(request);
        for (const part of request) this.#bytes += part.length;
      });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#waiting.push([]);
      this.#protocolError = error;
    }
    this.unfinishedSinceMs = this.#parser.isMidway ? this.unfinishedSinceMs || this.#p.monotonicMs() : 0;
    if (this.#waiting.length > REQUESTS_MAX || this.#bytes > REQUEST_BYTES_MAX) socket.pause(); // N2
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    const { socket } = this.#p;
    try {
      while (this.#waiting.length > 0 && !this.#isEnding) {
        const batch = this.#takeDirect();
        if (batch.length > 0) this.#answer(await this.#p.executor.runDirect(this.place, batch));
        else this.#answer([await this.#one(this.#take())]);
        if (!socket.write(this.#writer.take())) await drained(socket);
        if (socket.isPaused() && this.#waiting.length < REQUESTS_MAX / 2) socket.resume();
      }
    } catch (error) {
      this.#p.onError(error);
      socket.destroy(); // N3
    }
    this.#isRunning = false;
    if (this.#isEnding) socket.end();
  }

  #answer(replies: readonly Reply[]): void {
    for (const reply of replies) this.#writer.write(reply, this.protocol);
  }

  #take(): Buffer[] {
    const request = this.#waiting.shift() ?? [];
    for (const part of request) this.#bytes -= part.length;
    return request;
  }

  /** Direct commands at the front that may go together: writes, then reads (executor.ts X1). */
  #takeDirect(): DirectCall[] {
    const calls: DirectCall[] = [];
    if (this.#queued !== null || this.#p.refusal() !== null) return calls;
    let hasRead = false;
    let bytes = 0;
    for (;;) {
      const args = this.#waiting[0];
      const command = args === undefined ? undefined : this.#directOf(args);
      if (args === undefined || command === undefined) return calls;
      const isRead = command.verb === 'get';
      if (hasRead && !isRead) return calls;
      for (const arg of args) bytes += arg.length;
      if (calls.length > 0 && bytes > BATCH_BYTES_MAX) return calls;
      hasRead ||= isRead;
      this.#take();
      calls.push({ command, args });
    }
  }

  #directOf(args: readonly Buffer[]): Direct | undefined {
    const name = nameOf(args);
    const command = COMMANDS.get(name);
    if (command === undefined || !fits(command.arity, args)) return undefined;
    const form = formOf(command, args);
    if (form.kind !== 'direct' || this.#denied(name, form) !== null) return undefined;
    return form;
  }

  async #one(args: Buffer[]): Promise<Reply> {
    if (this.#protocolError !== null && args.length === 0) {
      this.#isEnding = true;
      return new RedisError(`ERR Protocol error: ${this.#protocolError.message}`);
    }
    try {
      return await this.#carryOut(args);
    } catch (error) {
      if (!(error instanceof RedisError || error instanceof FlowError)) throw error;
      if (this.#queued !== null) this.#isSpoiled = true;
      return asRedisError(error);
    }
  }

  async #carryOut(args: Buffer[]): Promise<Reply> {
    const name = nameOf(args);
    const own = SESSION.get(name);
    if (this.#identity === null && own?.isOpen !== true) {
      throw new RedisError('NOAUTH Authentication required.');
    }
    const refusal = this.#p.refusal();
    if (refusal !== null) throw refusal;
    const flow = this.#flowOf(name);
    if (flow !== undefined) return flow(args);
    const command = COMMANDS.get(name);
    if (command === undefined && own === undefined) throw unknown(args);
    const arity = command?.arity ?? own?.arity ?? 0;
    if (!fits(arity, args))
      throw new RedisError(`ERR wrong number of arguments for '${name.toLowerCase()}' command`);
    const denied = own?.isOpen === true ? null : this.#denied(name, command);
    if (denied !== null) throw denied;
    if (this.#queued !== null) return this.#enqueue(name, command, args);
    if (own !== undefined) return own.run(this, args, this.#p.server);
    const form = formOf(command as DataCommand, args);
    if (form.kind === 'composed') return this.#p.executor.runComposed(this.place, { command: form, args });
    const [reply = null] = await this.#p.executor.runDirect(this.place, [{ command: form, args }]);
    return reply;
  }

  #enqueue(name: string, command: DataCommand | undefined, args: readonly Buffer[]): Reply {
    if (command === undefined) throw new RedisError(`ERR ${name} inside MULTI is not supported by FlowMesh`);
    const queued = this.#queued ?? [];
    if (queued.length >= QUEUED_MAX)
      throw new RedisError(`ERR more than ${QUEUED_MAX} commands in a transaction`);
    queued.push({ command, args });
    return new Simple('QUEUED');
  }

  #flowOf(name: string): ((args: readonly Buffer[]) => Reply | Promise<Reply>) | undefined {
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
      case 'RESET':
        return () => this.#reset();
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
    this.#endTransaction();
    if (isSpoiled) return new RedisError('EXECABORT Transaction discarded because of previous errors.');
    return this.#p.executor.runTransaction(this.place, queued, watched);
  }

  #discard(): Reply {
    if (this.#queued === null) throw new RedisError('ERR DISCARD without MULTI');
    this.#endTransaction();
    return OK;
  }

  #endTransaction(): void {
    this.#queued = null;
    this.#isSpoiled = false;
    this.#watched.clear();
  }

  async #watch(args: readonly Buffer[]): Promise<Reply> {
    if (this.#queued !== null) throw new RedisError('ERR WATCH inside MULTI is not allowed');
    if (args.length < 2) throw new RedisError("ERR wrong number of arguments for 'watch' command");
    for (const key of args.slice(1)) {
      const id = key.toString('latin1');
      if (!this.#watched.has(id)) this.#watched.set(id, await this.#p.executor.revision(this.place, key));
    }
    return OK;
  }

  #unwatch(): Reply {
    this.#watched.clear();
    return OK;
  }

  #reset(): Reply {
    this.#endTransaction();
    this.protocol = 2;
    this.clientName = '';
    this.database = 0;
    return new Simple('RESET');
  }

  #denied(name: string, command: DataCommand | undefined): RedisError | null {
    if (this.#identity === null) return new RedisError('NOAUTH Authentication required.');
    if (command === undefined && SESSION.get(name)?.verb === undefined) return null;
    try {
      this.#p.access.authorize(this.#identity, `redis ${name}`);
      return null;
    } catch (error) {
      return asRedisError(error);
    }
  }
}

const nameOf = (args: readonly Buffer[]): string => args[0]?.toString('latin1').toUpperCase() ?? '';

const fits = (arity: number, args: readonly Buffer[]): boolean =>
  arity < 0 ? args.length >= -arity : args.length === arity;

const SHOWN_BYTES = 128;

function unknown(args: readonly Buffer[]): RedisError {
  const [name, ...rest] = args.map((arg) => arg.toString('latin1', 0, SHOWN_BYTES));
  const shown = rest.slice(0, 4).map((arg) => `'${arg}'`);
  return new RedisError(
    `ERR unknown command '${name}', with args beginning with: ${shown.join(' ')} (FlowMesh serves keys, ` +
      'strings, hashes, sets, sorted sets and transactions)',
  );
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.once('drain', done);
    socket.once('close', done);
    if (socket.destroyed) done();
  });
}
