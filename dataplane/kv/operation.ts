// The form of an operation: what it may read beyond the key's own row, what it checks before it goes to a
// shard, and how it is decided. One constant per operation of proto KvOp in strings.ts, hashes.ts, sets.ts,
// sorted-sets.ts.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { RowRef } from '../storage/contract.ts';
import type { Kind } from './tables.ts';
import type { Turn } from './turn.ts';

export interface Keyed {
  readonly key: Buffer;
}

export interface Operation<B extends Keyed> {
  /** May emit events. */
  readonly writes: boolean;
  /** Adds data: refused while the disk is full. */
  readonly grows: boolean;
  /** Kind of the collection whose members it reads; 0: only the key's own row. */
  readonly reads: Kind | 0;
  /** Refuses what no state could make valid. */
  check(body: B): void;
  /** Members it names, as byte strings, in the order of the request. */
  names(body: B): readonly string[];
  decide(turn: Turn, plan: Plan<B>): pb.KvResultInput;
}

/** An operation on its way: all that is known before the decision. It is the RowRef of its META row. */
export interface Plan<B extends Keyed> extends RowRef {
  readonly operation: Operation<B>;
  readonly body: B;
  readonly names: readonly string[];
  /** Place in the request. */
  readonly index: number;
}

const NONE: readonly string[] = [];
export const noNames = (): readonly string[] => NONE;
export const noCheck = (): void => {};

/** Fields and members are parts of row keys, so they are bounded like keys. */
export function byteNames(members: readonly Buffer[]): readonly string[] {
  const names = new Array<string>(members.length);
  for (let i = 0; i < members.length; i++) {
    const member = members[i] as Buffer;
    if (member.length > LIMITS.keyBytes) {
      throw new FlowError(
        'KEY_TOO_LARGE',
        `a field or member has ${member.length} bytes; at most ${LIMITS.keyBytes}`,
      );
    }
    names[i] = member.toString('latin1');
  }
  return names;
}

export function checkValue(value: Buffer): void {
  if (value.length <= LIMITS.valueBytes) return;
  throw new FlowError('VALUE_TOO_LARGE', `the value has ${value.length} bytes; at most ${LIMITS.valueBytes}`);
}

export function checkSome(count: number, what: string): void {
  if (count === 0) throw new FlowError('INVALID_ARGUMENT', `name at least one of ${what}`);
}

/** Place of the last mention of each name: as if the request were carried out one by one. */
export function lastMentions(names: readonly string[]): Iterable<[string, number]> {
  if (names.length === 1) return [[names[0] ?? '', 0]];
  const last = new Map<string, number>();
  for (let i = 0; i < names.length; i++) last.set(names[i] ?? '', i);
  return last;
}
