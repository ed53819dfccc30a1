// One operation on keys, now or as of an earlier moment: what the commands of flowmesh kv share.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import type { Context } from '../context.ts';
import { CliError, throwWireError } from '../failure.ts';
import { timestamp, whole } from '../parsing.ts';

export interface KeyspaceOption {
  keyspace: string;
}

export interface ReadOptions extends KeyspaceOption {
  at?: (nowMs: number) => number;
  atRevision?: number;
}

export const atOption = (): Option =>
  new Option('--at <time>', 'as it was at a time: 2026-01-31T12:00:00Z, or how long ago: 15m').argParser(
    timestamp,
  );

/** A command that reads, and can look back. */
export const ofMoment = (command: Command): Command =>
  command
    .addOption(atOption())
    .addOption(
      new Option('--at-revision <n>', 'as the change with this revision left it')
        .argParser(whole(1))
        .conflicts('at'),
    );

export const bytes = (text: string): Uint8Array => Buffer.from(text);

/** One operation; errors inside the answer are thrown. */
export async function run(
  context: Context,
  { keyspace }: KeyspaceOption,
  op: pb.KvOpInput,
  isMutation = false,
  asOf?: pb.KvAsOfInput,
): Promise<pb.KvResult> {
  const api = await context.api();
  const mutation = isMutation ? api.mutation() : null;
  const space = keyspace === 'default' ? '' : keyspace;
  const { results } = await api.execute({ keyspace: space, ops: [op], mutation, ...(asOf && { asOf }) });
  const [result] = results;
  if (result === undefined) throw new CliError('the server answered without a result');
  throwWireError(result.error);
  return result;
}

/** As it is, or as it was at the moment that the options name. */
export function read(context: Context, options: ReadOptions, op: pb.KvOpInput): Promise<pb.KvResult> {
  const { at, atRevision } = options;
  const asOf = at
    ? { timeMs: at(context.terminal.nowMs()) }
    : atRevision
      ? { revision: atRevision }
      : undefined;
  return run(context, options, op, false, asOf);
}

export const noSuchKey = (key: string): CliError => new CliError(`there is no key ${key}`);
