// Gets and sets of one key without any options, which nearly all requests are: from requests to calls, and
// from results to replies, without messages (kv/plain.ts).
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { PlainCall } from '../../services.ts';
import { asRedisError } from './errors.ts';
import { GET, SET } from './parser.ts';
import { OK, type Protocol, type ReplyWriter } from './reply.ts';

/** One batch carries at most this. */
const BATCH_BYTES_MAX = 1024 * 1024;
const EMPTY = Buffer.alloc(0);

const flowErrorOf = ({ code, message }: NonNullable<pb.KvResultInput['error']>) =>
  new FlowError(code as FlowError['code'], message ?? '');

/** A get or a set of one key without any options. */
export function plainKind(args: readonly Buffer[] | undefined): 'GET' | 'SET' | null {
  if (args === undefined) return null;
  if (args[0] === GET && args.length === 2) return 'GET';
  return args[0] === SET && args.length === 3 ? 'SET' : null;
}

/**
 * Those at the front that may go together: none sets a key that one before it reads, so that such a read can
 * be asked again on its own.
 */
export function plainCalls(waiting: readonly Buffer[][], may: (kind: 'GET' | 'SET') => boolean): PlainCall[] {
  const [mayGet, maySet] = [may('GET'), may('SET')];
  const calls: PlainCall[] = [];
  const read = new Set<string>();
  let reads = 0;
  let bytes = 0;
  for (const args of waiting) {
    const kind = plainKind(args);
    if (kind === null || !(kind === 'GET' ? mayGet : maySet)) break;
    const key = args[1] as Buffer;
    const value = kind === 'GET' ? null : (args[2] as Buffer);
    if (value === null) reads++;
    else if (reads > 0) {
      // Gets that no set follows, which is what most pipelines are, are not looked up.
      if (read.size === 0) for (const each of calls) if (each.value === null) read.add(nameOf(each.key));
      if (read.has(nameOf(key))) break;
    }
    bytes += key.length + (value?.length ?? 0);
    if (calls.length > 0 && bytes > BATCH_BYTES_MAX) break;
    calls.push({ key, value });
    if (value === null && read.size > 0) read.add(nameOf(key));
  }
  return calls;
}

const nameOf = (key: Buffer): string => key.toString('latin1');

export interface PlainBatch {
  readonly calls: readonly PlainCall[];
  readonly results: pb.KvResultInput[];
}

/**
 * Writes replies from `from` on. Returns where it ended: there is a get whose value was too large together
 * with the others, and it is to be asked again; unless `from` was, which was asked alone.
 */
export function writePlain(
  writer: ReplyWriter,
  protocol: Protocol,
  { calls, results }: PlainBatch,
  from = -1,
): number {
  for (let i = Math.max(from, 0); i < calls.length; i++) {
    const { error, found, value } = results[i] as pb.KvResultInput;
    const isGet = calls[i]?.value === null;
    if (error && isGet && i !== from && error.code === 'BATCH_TOO_LARGE') return i;
    if (error) writer.write(asRedisError(flowErrorOf(error)), protocol);
    else if (isGet) writer.write(found ? ((value ?? EMPTY) as Buffer) : null, protocol);
    else writer.write(found ? OK : null, protocol);
  }
  return calls.length;
}
