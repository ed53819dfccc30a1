// Runs commands on data for one connection.
//   X1. Direct commands that wait together go to the shards as one request. Reads stand behind writes in
//       it, so that a read can be asked again on its own when all replies together are too large for one.
//   X2. A composed command is tried again while its keys move on under it, at most ATTEMPTS_MAX times.
//   X3. A transaction is what its commands do to one overlay, committed with all watched keys as
//       conditions.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Fabric } from '../../services.ts';
import type { Caller } from '../../shard/state-machine.ts';
import { type Clock, type Composed, type DataCommand, type Direct, formOf } from './command.ts';
import { asRedisError } from './errors.ts';
import { Overlay } from './overlay.ts';
import { applyOp } from './overlay-ops.ts';
import { RedisError, type Reply } from './reply.ts';

const ATTEMPTS_MAX = 100;

export interface Call {
  readonly command: DataCommand;
  readonly args: readonly Buffer[];
}

export interface ExecutorParts {
  readonly fabric: Pick<Fabric, 'kv' | 'transactions'>;
  readonly clock: Clock;
  readonly pause: (ms: number) => Promise<void>;
}

export interface Place {
  readonly caller: Caller;
  readonly keyspace: string;
}

export class Executor {
  readonly #p: ExecutorParts;

  constructor(parts: ExecutorParts) {
    this.#p = parts;
  }

  /** Replies in order; a command that fails has its error for a reply. */
  async runDirect(place: Place, calls: readonly (Call & { readonly command: Direct })[]): Promise<Reply[]> {
    const { clock } = this.#p;
    const ops: pb.KvOp[] = [];
    const spans = calls.map(({ command, args }) => {
      try {
        const mine = command.ops(args, clock).map((op) => pb.KvOp.create(op) as pb.KvOp);
        ops.push(...mine);
        return { from: ops.length - mine.length, to: ops.length };
      } catch (error) {
        return asRedisError(error);
      }
    });
    const results = ops.length === 0 ? [] : await this.#execute(place, ops);
    const replies: Reply[] = [];
    for (const [i, span] of spans.entries()) {
      const call = calls[i] as Call & { command: Direct };
      if (span instanceof RedisError) replies.push(span);
      else replies.push(await this.#replyOf(place, call, results.slice(span.from, span.to)));
    }
    return replies;
  }

  async runComposed(place: Place, { command, args }: Call & { readonly command: Composed }): Promise<Reply> {
    try {
      return await this.#attempts(async () => {
        const overlay = this.#overlay(place);
        const reply = await command.run(overlay, args, this.#p.clock);
        return (await overlay.commit()) ? { reply } : undefined;
      });
    } catch (error) {
      return asRedisError(error);
    }
  }

  /** The revision that WATCH remembers. */
  async revision(place: Place, key: Buffer): Promise<number> {
    return this.#overlay(place).revision(key);
  }

  /** null: a watched key has changed. */
  async runTransaction(
    place: Place,
    calls: readonly Call[],
    watched: ReadonlyMap<string, number>,
  ): Promise<Reply> {
    try {
      return await this.#attempts(async () => {
        const overlay = this.#overlay(place);
        for (const [key, revision] of watched) {
          if ((await overlay.revision(Buffer.from(key, 'latin1'))) !== revision) return { reply: null };
        }
        const replies: Reply[] = [];
        for (const { command, args } of calls) replies.push(await this.#inOverlay(overlay, command, args));
        return (await overlay.commit()) ? { reply: replies } : undefined;
      });
    } catch (error) {
      return asRedisError(error);
    }
  }

  async #inOverlay(overlay: Overlay, command: DataCommand, args: readonly Buffer[]): Promise<Reply> {
    const { clock } = this.#p;
    const form = formOf(command, args);
    try {
      if (form.kind === 'composed') return await form.run(overlay, args, clock);
      if (form.fallback !== undefined) return await form.fallback(overlay, args, clock);
      const results: pb.KvResultInput[] = [];
      for (const op of form.ops(args, clock)) {
        results.push(
          await applyOp(overlay, pb.KvOp.create(op) as pb.KvOp, clock.nowMs()).catch(tolerated(form)),
        );
      }
      return form.reply(results, args, clock);
    } catch (error) {
      // As in Redis, a command that fails does not take the others back.
      return asRedisError(error);
    }
  }

  #overlay({ caller, keyspace }: Place): Overlay {
    const { fabric, clock } = this.#p;
    return new Overlay({ fabric, caller, keyspace, nowMs: clock.nowMs });
  }

  async #attempts<R>(attempt: () => Promise<{ reply: R } | undefined>): Promise<R> {
    for (let i = 0; i < ATTEMPTS_MAX; i++) {
      const done = await attempt();
      if (done !== undefined) return done.reply;
      // Others are at the same keys: the one that waits least gets on.
      await this.#p.pause(this.#p.clock.random() * Math.min(50, 2 ** Math.min(i, 6)));
    }
    throw new RedisError('TRYAGAIN the keys of the command are changed again and again by others');
  }

  async #execute({ caller, keyspace }: Place, ops: pb.KvOp[]): Promise<readonly pb.KvResultInput[]> {
    try {
      const request = pb.KvRequest.create({ keyspace, ops }) as pb.KvRequest;
      return (await this.#p.fabric.kv.execute(caller, request)).results ?? [];
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      const { code, message } = error;
      return ops.map(() => ({ error: { code, message } }));
    }
  }

  async #replyOf(
    place: Place,
    { command, args }: Call & { readonly command: Direct },
    results: readonly pb.KvResultInput[],
  ): Promise<Reply> {
    try {
      let answered = results;
      if (command.verb === 'get' && results.some(({ error }) => error?.code === 'BATCH_TOO_LARGE')) {
        answered = await this.#oneByOne(place, command, args);
      }
      const failed = answered.find(({ error }) => error?.code);
      if (failed?.error && command.fallback !== undefined && isBeyondOperation(failed.error.code)) {
        return await this.runComposed(place, {
          command: { ...command, kind: 'composed', run: command.fallback },
          args,
        });
      }
      if (failed?.error && !command.isTolerant) {
        throw new FlowError(failed.error.code as FlowError['code'], failed.error.message ?? '');
      }
      return command.reply(answered, args, this.#p.clock);
    } catch (error) {
      return asRedisError(error);
    }
  }

  /** X1 */
  async #oneByOne(place: Place, command: Direct, args: readonly Buffer[]): Promise<pb.KvResultInput[]> {
    const results: pb.KvResultInput[] = [];
    for (const op of command.ops(args, this.#p.clock)) {
      results.push(...(await this.#execute(place, [pb.KvOp.create(op) as pb.KvOp])));
    }
    return results;
  }
}

const isBeyondOperation = (code: string | null | undefined) =>
  code === 'WRONG_VALUE' || code === 'INVALID_ARGUMENT';

const tolerated =
  ({ isTolerant }: Direct) =>
  (error: unknown): pb.KvResultInput => {
    if (isTolerant && error instanceof RedisError)
      return { error: { code: 'WRONG_TYPE', message: error.message } };
    throw error;
  };
