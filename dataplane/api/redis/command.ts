// The forms of a command.
//   direct    one or more operations of the KV API: what waits on a connection goes to the shards together
//   composed  reads, decides and writes on an overlay; tried again when a key has moved on meanwhile
//   session   about the connection or the server
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Verb } from '../permissions.ts';
import type { Overlay } from './overlay.ts';
import type { Reply } from './reply.ts';

export interface Clock {
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly random: () => number;
}

interface Common {
  /** Arguments with the name; negative: at least so many. */
  readonly arity: number;
  readonly verb: Verb;
  /** What COMMAND INFO says of it. */
  readonly flags: readonly string[];
  /** First and last key and the step between them, as in COMMAND INFO. */
  readonly keys: readonly [first: number, last: number, step: number];
}

export interface Direct extends Common {
  readonly kind: 'direct';
  readonly ops: (args: readonly Buffer[], clock: Clock) => pb.KvOpInput[];
  /** Takes results that carry errors; of the others the first error is the answer. */
  readonly isTolerant?: boolean;
  /** Some arguments ask for more than operations can do. */
  readonly otherwise?: { readonly when: (args: readonly Buffer[]) => boolean; readonly command: Composed };
  /** Carried out instead where the operation is not able to. */
  readonly fallback?: Composed['run'];
  /** May throw RedisError. */
  readonly reply: (results: readonly pb.KvResultInput[], args: readonly Buffer[], clock: Clock) => Reply;
}

export interface Composed extends Common {
  readonly kind: 'composed';
  readonly run: (overlay: Overlay, args: readonly Buffer[], clock: Clock) => Promise<Reply>;
}

export type DataCommand = Direct | Composed;

/** The form that these arguments need. */
export const formOf = (command: DataCommand, args: readonly Buffer[]): DataCommand =>
  command.kind === 'direct' && command.otherwise?.when(args) ? command.otherwise.command : command;
export type Table = Readonly<Record<string, DataCommand>>;

const READ = ['readonly', 'fast'];
const WRITE = ['write', 'denyoom', 'fast'];

type Keys = Common['keys'];
export const ONE: Keys = [1, 1, 1];
export const ALL: Keys = [1, -1, 1];

type Ops = Direct['ops'];
type ReplyOf = Direct['reply'];

export const reads = (arity: number, ops: Ops, reply: ReplyOf, keys = ONE): Direct => ({
  ...{ kind: 'direct', arity, verb: 'get', flags: READ, keys },
  ...{ ops, reply },
});

export const puts = (arity: number, ops: Ops, reply: ReplyOf, keys = ONE): Direct => ({
  ...{ kind: 'direct', arity, verb: 'put', flags: WRITE, keys },
  ...{ ops, reply },
});

export const deletes = (arity: number, ops: Ops, reply: ReplyOf, keys = ONE): Direct => ({
  ...{ kind: 'direct', arity, verb: 'delete', flags: ['write', 'fast'], keys },
  ...{ ops, reply },
});

export const asks = (arity: number, run: Composed['run'], keys = ONE): Composed => ({
  ...{ kind: 'composed', arity, verb: 'get', flags: ['readonly'], keys },
  run,
});

export const changes = (arity: number, run: Composed['run'], keys = ONE): Composed => ({
  ...{ kind: 'composed', arity, verb: 'put', flags: ['write', 'denyoom'], keys },
  run,
});

/** The argument at `index`; the arity has been checked. */
export const at = (args: readonly Buffer[], index: number): Buffer => args[index] as Buffer;

export const word = (bytes: Buffer | undefined): string => bytes?.toString('latin1').toUpperCase() ?? '';

/** Of the command, as tables have it. */
export const nameOf = (args: readonly Buffer[]): string => args[0]?.toString('latin1').toUpperCase() ?? '';

export const fits = (arity: number, args: readonly Buffer[]): boolean =>
  arity < 0 ? args.length >= -arity : args.length === arity;
