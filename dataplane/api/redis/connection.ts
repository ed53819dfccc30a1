// One client: requests in, replies out, strictly in order.
//   N1. What has come while the last batch was under way is the next batch.
//   N2. Bounded: beyond REQUESTS_MAX waiting requests, or REQUEST_BYTES_MAX of them, nothing is read from the
//       socket; while the client does not read its replies, nothing is carried out.
//   N3. Nothing that goes wrong here may reach another connection: the socket is closed, and that is all.
//   N4. Plain gets and sets take a way without messages and promises (kv/plain.ts); what they mean is what
//       COMMANDS says of them.
import type { Socket } from 'node:net';
import { FlowError } from '@flowmesh/protocol';
import type { KvService } from '../../services.ts';
import { type Access, callerOf, type Identity } from '../access.ts';
import { type DataCommand, type Direct, fits, formOf, nameOf } from './command.ts';
import { asRedisError, unknownCommand } from './errors.ts';
import type { Call, Executor, Place } from './executor.ts';
import { type ParserLimits, ProtocolError, RequestParser } from './parser.ts';
import { type PlainBatch, plainCalls, plainKind, writePlain } from './plain.ts';
import { RedisError, type Reply, type ReplyWriter, Simple } from './reply.ts';
import { RequestQueue } from './request-queue.ts';
import { keyspaceOf, SESSION, type ServerParts, type Session } from './session.ts';
import { COMMANDS } from './tables.ts';
import { Transaction } from './transaction.ts';

const REQUESTS_MAX = 1024;
const REQUEST_BYTES_MAX = 8 * 1024 * 1024;
/** Operations of one request to the shards carry at most this. */
const BATCH_BYTES_MAX = 1024 * 1024;
/** Replies that were found at once are sent at this size: the client may be slow. */
const REPLY_BYTES = 256 * 1024;

const OPEN_LIMITS: ParserLimits = {
  argumentsMax: 20_001,
  argumentBytesMax: 1024 * 1024,
  requestBytesMax: 4 * 1024 * 1024,
};
/** Before it is known who asks. */
const CLOSED_LIMITS: ParserLimits = { argumentsMax: 10, argumentBytesMax: 4096, requestBytesMax: 16 * 1024 };

export interface ConnectionParts {
  readonly id: number;
  readonly socket: Socket;
  readonly access: Access;
  readonly executor: Executor;
  readonly kv: Pick<KvService, 'getNow' | 'plain'>;
  /** Shared by all connections: it is empty between two turns. */
  readonly writer: ReplyWriter;
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
  /** When the request that is not whole yet began, monotonic; 0: there is none. */
  unfinishedSinceMs = 0;
  readonly #waiting = new RequestQueue();
  readonly #p: ConnectionParts;
  readonly #parser = new RequestParser(OPEN_LIMITS);
  readonly #transaction: Transaction;
  #identity: Identity | null = null;
  #database = 0;
  #place: Place | null = null;
  /** By name of the command, for this identity; null: it is allowed. */
  readonly #denials = new Map<string, RedisError | null>();
  #isRunning = false;
  #isEnding = false;
  #protocolError: ProtocolError | null = null;

  constructor(parts: ConnectionParts) {
    this.#p = parts;
    this.id = parts.id;
    const { socket } = parts;
    this.remote = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? 0}`;
    this.#transaction = new Transaction(parts.executor, () => this.place);
    try {
      this.#identity = parts.access.identify({ authorization: undefined });
    } catch {
      this.#parser.limits = CLOSED_LIMITS;
    }
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => socket.destroy());
  }

  get place(): Place {
    if (this.#identity === null) throw new RedisError('NOAUTH Authentication required.');
    this.#place ??= {
      caller: callerOf(this.#identity, { deadlineMs: 0, traceparent: undefined }),
      keyspace: keyspaceOf(this.#database),
    };
    return this.#place;
  }

  get database(): number {
    return this.#database;
  }

  set database(database: number) {
    this.#database = database;
    this.#place = null;
  }

  authenticate(password: string): void {
    try {
      this.#identity = this.#p.access.identify({ authorization: `Bearer ${password}` });
      this.#parser.limits = OPEN_LIMITS;
      this.#place = null;
      this.#denials.clear();
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
    if (this.#protocolError !== null) return;
    try {
      this.#parser.feed(chunk, (request) => {
        this.#waiting.push(request);
      });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#waiting.push([]);
      this.#protocolError = error;
    }
    this.unfinishedSinceMs = this.#parser.isMidway ? this.unfinishedSinceMs || this.#p.monotonicMs() : 0;
    if (this.#waiting.length > REQUESTS_MAX || this.#waiting.bytes > REQUEST_BYTES_MAX) socket.pause(); // N2
    if (!this.#isRunning) this.#go();
  }

  /** Carries out what waits, until nothing does or something is under way that goes on here. */
  #go(): void {
    this.#isRunning = true;
    try {
      while (this.#waiting.length > 0 && !this.#isEnding) {
        if (this.#p.socket.writableNeedDrain) {
          void drained(this.#p.socket).then(() => this.#go());
          return;
        }
        const isPlain = this.#isPlainNext();
        if (isPlain && this.#answerGets()) continue;
        if (isPlain ? this.#submitPlain() : this.#start()) return;
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#isRunning = false;
    if (this.#isEnding) this.#p.socket.end();
  }

  /** N3 */
  #fail(error: unknown): void {
    this.#p.writer.take();
    this.#p.onError(error);
    this.#p.socket.destroy();
    this.#waiting.clear();
  }

  /** Whatever is no plain get or set. True: it goes on when it is done. */
  #start(): true {
    const batch = this.#takeDirect();
    const running =
      batch.length > 0
        ? this.#p.executor.runDirect(this.place, batch)
        : this.#one(this.#take()).then((reply) => [reply]);
    running.then(
      (replies) => this.#finish(() => this.#answer(replies)),
      (error: unknown) => {
        this.#fail(error);
        this.#isRunning = false;
      },
    );
    return true;
  }

  /** Something that was under way is done. */
  #finish(answer: () => void): void {
    try {
      answer();
      this.#send();
    } catch (error) {
      this.#fail(error);
    }
    this.#go();
  }

  #answer(replies: readonly Reply[]): void {
    for (const reply of replies) this.#p.writer.write(reply, this.protocol);
  }

  #send(): void {
    const { socket, writer } = this.#p;
    socket.write(writer.take());
    if (socket.isPaused() && this.#waiting.length < REQUESTS_MAX / 2) socket.resume();
  }

  /** Whether what is first goes the way of N4. */
  #isPlainNext(): boolean {
    const kind = plainKind(this.#waiting.first);
    if (kind === null || this.#transaction.isOpen || this.#p.refusal() !== null) return false;
    return this.#denied(kind) === null;
  }

  /** The gets at the front whose values are at hand. False: there are none. */
  #answerGets(): boolean {
    const { kv, writer } = this.#p;
    const { caller, keyspace } = this.place;
    const waiting = this.#waiting.all;
    let count = 0;
    while (count < waiting.length && writer.bytes < REPLY_BYTES) {
      const args = waiting[count] as Buffer[];
      if (plainKind(args) !== 'GET') break;
      const value = kv.getNow(caller, keyspace, args[1] as Buffer);
      if (value === undefined) break;
      writer.write(value, this.protocol);
      count++;
    }
    if (count === 0) return false;
    this.#waiting.take(count);
    this.#send();
    return true;
  }

  /** Sets and gets at the front. False: they are answered already. */
  #submitPlain(): boolean {
    const { caller, keyspace } = this.place;
    const calls = plainCalls(this.#waiting.all, (kind) => this.#denied(kind) === null);
    const requests = this.#waiting.take(calls.length);
    let isDone = false;
    let isNow = true;
    this.#p.kv.plain(caller, keyspace, calls, (results) => {
      isDone = true;
      const batch = { calls, results };
      if (!isNow) return this.#answerPlain(batch, requests);
      // Bad keys, all of them.
      writePlain(this.#p.writer, this.protocol, batch);
      this.#send();
    });
    isNow = false;
    return !isDone;
  }

  /**
   * From `from` on, which was asked again. A get that has to be asked again goes back to the front with those
   * behind it; where a set is behind it, which is done, it is asked alone.
   */
  #answerPlain(batch: PlainBatch, requests: readonly Buffer[][], from = -1): void {
    const { kv, socket, writer } = this.#p;
    try {
      const at = writePlain(writer, this.protocol, batch, from);
      this.#send();
      const call = batch.calls[at];
      if (call !== undefined && batch.calls.slice(at).some(({ value }) => value !== null)) {
        const { caller, keyspace } = this.place;
        const again = () =>
          kv.plain(caller, keyspace, [call], ([result]) => {
            batch.results[at] = result ?? {};
            this.#answerPlain(batch, requests, at);
          });
        if (socket.writableNeedDrain) void drained(socket).then(again);
        else again();
        return;
      }
      this.#waiting.putBack(requests.slice(at));
    } catch (error) {
      this.#fail(error);
    }
    this.#go();
  }

  #take(): Buffer[] {
    return this.#waiting.take(1)[0] ?? [];
  }

  /** Direct commands at the front that may go together: writes, then reads (executor.ts X1). */
  #takeDirect(): DirectCall[] {
    const calls: DirectCall[] = [];
    if (this.#transaction.isOpen || this.#p.refusal() !== null) return calls;
    let hasRead = false;
    let bytes = 0;
    for (;;) {
      const args = this.#waiting.first;
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
    if (form.kind !== 'direct' || this.#denied(name) !== null) return undefined;
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
      this.#transaction.spoil();
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
    if (name === 'RESET') return this.#reset();
    const step = this.#transaction.commandOf(name);
    if (step !== undefined) return step(args);
    const command = COMMANDS.get(name);
    if (command === undefined && own === undefined) throw unknownCommand(args);
    const arity = command?.arity ?? own?.arity ?? 0;
    if (!fits(arity, args))
      throw new RedisError(`ERR wrong number of arguments for '${name.toLowerCase()}' command`);
    const denied = own?.isOpen === true ? null : this.#denied(name);
    if (denied !== null) throw denied;
    if (this.#transaction.isOpen) return this.#transaction.enqueue(name, command, args);
    if (own !== undefined) return own.run(this, args, this.#p.server);
    const form = formOf(command as DataCommand, args);
    if (form.kind === 'composed') return this.#p.executor.runComposed(this.place, { command: form, args });
    const [reply = null] = await this.#p.executor.runDirect(this.place, [{ command: form, args }]);
    return reply;
  }

  #reset(): Reply {
    this.#transaction.end();
    this.protocol = 2;
    this.clientName = '';
    this.database = 0;
    return new Simple('RESET');
  }

  /** Why this identity may not; null: it may. */
  #denied(name: string): RedisError | null {
    if (this.#identity === null) return new RedisError('NOAUTH Authentication required.');
    if (!COMMANDS.has(name) && SESSION.get(name)?.verb === undefined) return null;
    let denial = this.#denials.get(name);
    if (denial === undefined) {
      denial = denialOf(() => this.#p.access.authorize(this.#identity as Identity, `redis ${name}`));
      this.#denials.set(name, denial);
    }
    return denial;
  }
}

function denialOf(authorize: () => void): RedisError | null {
  try {
    authorize();
    return null;
  } catch (error) {
    return asRedisError(error);
  }
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
