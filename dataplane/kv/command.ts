// From a request to commands: operations are checked and planned once, keys become byte strings once, and
// what lives on one shard becomes one command.
//   P1. Order within a shard is the order of the request; a scan stands behind what the request names before
//       it.
//   P2. Planning refuses what no state could make valid. It never refuses for what a shard would have to
//       know.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import {
  Durability,
  type KvOp,
  type KvRequest,
  type KvResponseInput,
  type KvResultInput,
} from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller, Command, MutationId, ShardPort } from '../shard/state-machine.ts';
import { hashDelete, hashGet, hashIncrement, hashSet } from './hashes.ts';
import type { Keyed, Operation, Plan } from './operation.ts';
import { kvShardOf } from './routing.ts';
import { setAdd, setContains, setRemove } from './sets.ts';
import { sortedSetAdd, sortedSetIncrement, sortedSetRemove, sortedSetScore } from './sorted-sets.ts';
import { check, del, expire, get, increment, inspect, set } from './strings.ts';
import { type Declaration, keyspacePrefix, META, metaKey } from './tables.ts';

export interface KvCommand extends Command {
  readonly plans: readonly Plan<Keyed>[];
  /** Some plan reads rows of members. */
  readonly namesMembers: boolean;
  /** In a transaction the first failing operation refuses all. */
  readonly isAtomic: boolean;
  /** Answers the META row of this key instead: what scans need to know before they start. */
  readonly peek?: string;
  /** Declares how a keyspace is kept. */
  readonly declare?: Declaration & { readonly name: string };
  /** `peek` answers the row also if it is expired. */
  readonly alsoExpired?: boolean;
}

type OpName = Exclude<KvOp['op'], undefined>;
const SCANS = ['scan', 'hashScan', 'setScan', 'sortedSetRange'] as const;
export type ScanName = (typeof SCANS)[number];

const OPERATIONS: { readonly [N in Exclude<OpName, ScanName>]: Operation<NonNullable<KvOp[N]>> } = {
  get,
  set,
  delete: del,
  expire,
  increment,
  inspect,
  check,
  hashSet,
  hashGet,
  hashDelete,
  hashIncrement,
  setAdd,
  setRemove,
  setContains,
  sortedSetAdd,
  sortedSetRemove,
  sortedSetScore,
  sortedSetIncrement,
};

const isScan = (name: OpName): name is ScanName => (SCANS as readonly string[]).includes(name);

/** Commands that may run side by side, then at most one scan. */
export interface Step {
  /** By shard; holes where a shard has no part. */
  readonly commands: KvCommand[];
  /** Place of the scan in the request; -1: none. */
  readonly scan: number;
}

export interface Planned {
  readonly steps: readonly Step[];
  /** In request order; filled where planning refused. */
  readonly results: KvResultInput[];
}

export function planRequest(caller: Caller, request: KvRequest, shards: number): Planned {
  const { ops } = request;
  checkSize(ops.length);
  const prefix = keyspacePrefix(caller.tenant, keyspaceOf(request));
  const results = new Array<KvResultInput>(ops.length);
  const steps: Step[] = [];
  let groups: Plan<Keyed>[][] = [];
  let members = 0;
  const close = (scan: number) => {
    const commands: KvCommand[] = [];
    groups.forEach((plans, shard) => {
      commands[shard] = commandOf(caller, plans, request, false);
    });
    steps.push({ commands, scan });
    groups = [];
  };
  for (let index = 0; index < ops.length; index++) {
    const op = ops[index] as KvOp;
    if (op.op !== undefined && isScan(op.op)) {
      close(index);
      continue;
    }
    try {
      const plan = planOf(prefix, op, index);
      members += plan.names.length;
      const shard = kvShardOf(plan.body.key, shards);
      const group = groups[shard];
      if (group === undefined) groups[shard] = [plan];
      else group.push(plan);
    } catch (error) {
      results[index] = errorResult(error);
    }
  }
  checkSize(members);
  if (groups.length > 0) close(-1);
  if (steps.length > 1) checkOneWriter(steps);
  return { steps, results };
}

/** For transactions: every operation on one shard, and the first that fails refuses all. Takes no scans. */
export function kvCommand(
  caller: Caller,
  request: KvRequest,
  shard: Pick<ShardPort, 'id' | 'shards'>,
): KvCommand {
  checkSize(request.ops.length);
  if (request.asOf) throw new FlowError('INVALID_ARGUMENT', 'a transaction is about now: it takes no as_of');
  const prefix = keyspacePrefix(caller.tenant, keyspaceOf(request));
  const plans = request.ops.map((op, index) => planOf(prefix, op, index));
  checkSize(plans.reduce((members, { names }) => members + names.length, 0));
  if (plans.some(({ body }) => kvShardOf(body.key, shard.shards) !== shard.id)) {
    throw new FlowError('CROSS_SHARD', 'a key lives on another shard; give all names the same {tag}');
  }
  return commandOf(caller, plans, request, true);
}

/** The reply of a command as the message: results in the order of its operations. */
export const kvReply = (reply: unknown): KvResponseInput => ({
  results: reply as KvResultInput[],
  durability: Durability.DURABILITY_FSYNC,
});

export const peekCommand = (caller: Caller, key: string, alsoExpired = false): KvCommand => ({
  view: 'kv',
  caller,
  mutation: undefined,
  grows: false,
  mutates: false,
  plans: [],
  namesMembers: false,
  isAtomic: false,
  peek: key,
  alsoExpired,
});

export const declareCommand = (
  caller: Caller,
  declare: Declaration & { readonly name: string },
  mutation: MutationId | undefined,
): KvCommand => ({
  view: 'kv',
  kind: 'declare',
  caller,
  mutation,
  grows: true,
  mutates: true,
  plans: [],
  namesMembers: false,
  isAtomic: false,
  declare,
});

export function keyspaceOf({ keyspace }: { readonly keyspace: string }): string {
  if (keyspace === '') return 'default';
  if (Buffer.byteLength(keyspace) <= LIMITS.nameBytes) return keyspace;
  throw new FlowError('INVALID_ARGUMENT', `keyspace is longer than ${LIMITS.nameBytes} bytes`);
}

export function checkKey(key: Buffer): void {
  if (key.length === 0) throw new FlowError('INVALID_ARGUMENT', 'key is empty');
  if (key.length <= LIMITS.keyBytes) return;
  throw new FlowError('KEY_TOO_LARGE', `the key has ${key.length} bytes; at most ${LIMITS.keyBytes}`);
}

export function errorResult(error: unknown): KvResultInput {
  if (!(error instanceof FlowError)) throw error;
  const { code, message, retryAfterMs } = error;
  return { error: { code, message, retryAfterMs } };
}

function planOf(prefix: string, op: KvOp, index: number): Plan<Keyed> {
  const name = op.op;
  if (name === undefined)
    throw new FlowError('INVALID_ARGUMENT', 'the operation is empty or unknown to this server');
  if (isScan(name))
    throw new FlowError('INVALID_ARGUMENT', 'scans and ranges have no place in a transaction');
  const operation: Operation<Keyed> = OPERATIONS[name] as Operation<Keyed>;
  const body = op[name] as Keyed;
  checkKey(body.key);
  operation.check(body);
  const names = operation.names(body);
  return { table: META, key: metaKey(prefix, body.key.toString('latin1')), operation, body, names, index };
}

function commandOf(caller: Caller, plans: Plan<Keyed>[], request: KvRequest, isAtomic: boolean): KvCommand {
  let grows = false;
  let mutates = false;
  let namesMembers = false;
  for (const { operation } of plans) {
    if (operation.grows) grows = true;
    if (operation.writes) mutates = true;
    if (operation.reads !== 0) namesMembers = true;
  }
  const mutation = mutates ? mutationOf(request) : undefined;
  return { view: 'kv', caller, mutation, grows, mutates, plans, namesMembers, isAtomic };
}

export function mutationOf({ mutation }: Pick<KvRequest, 'mutation'>): MutationId | undefined {
  if (mutation === null || (mutation.producerId === '' && mutation.cause === null)) return undefined;
  const { producerId, seq, cause } = mutation;
  return { producerId, seq, cause: cause ?? undefined };
}

/** A producer's sequence answers for one command per shard: writes on both sides of a scan cannot share. */
function checkOneWriter(steps: readonly Step[]): void {
  const writers = steps.filter(({ commands }) => commands.some((command) => command.mutation?.producerId));
  if (writers.length <= 1) return;
  throw new FlowError(
    'INVALID_ARGUMENT',
    'with a producer_id, writes stand on one side of a scan; split the request',
  );
}

function checkSize(count: number): void {
  if (count <= LIMITS.batchRecords) return;
  const message = `${count} operations or members in one request; at most ${LIMITS.batchRecords}`;
  throw new FlowError('BATCH_TOO_LARGE', message);
}
