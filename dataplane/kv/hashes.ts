// Operations on hashes: one row per field, and the count in the key's own row.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { FIELDS_PUT, type FieldsPut } from './events.ts';
import { removeMembers } from './members.ts';
import { byteNames, checkSome, checkValue, lastMentions, type Operation } from './operation.ts';
import { addIntegers, adds, asks, checkDelta, takes } from './strings.ts';
import { collectionMeta, FIELD, HASH, type Meta } from './tables.ts';
import type { Turn } from './turn.ts';

export const hashSet: Operation<pb.HashSet> = {
  ...adds,
  reads: HASH,
  check(body) {
    checkSome(body.fields.length, 'fields');
    for (const { value } of body.fields) checkValue(value);
  },
  names: (body) => byteNames(body.fields.map(({ field }) => field)),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, HASH);
    const prefix = meta === undefined ? '' : turn.members(plan.key, meta);
    const names: string[] = [];
    const values: Buffer[] = [];
    let integer = 0;
    let bytes = plan.key.length;
    for (const [name, i] of lastMentions(plan.names)) {
      const value = plan.body.fields[i]?.value as Buffer;
      names.push(name);
      values.push(value);
      bytes += name.length + value.length + 8;
      if (meta === undefined || turn.member(FIELD, meta, prefix + name) === undefined) integer++;
    }
    turn.spend(bytes);
    const revision = putFields(turn, plan.key, meta, { names, values, added: integer });
    return { integer, revision };
  },
};

export const hashGet: Operation<pb.HashGet> = {
  ...asks,
  reads: HASH,
  check: () => {},
  names: (body) => byteNames(body.fields),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, HASH);
    const prefix = meta === undefined ? '' : turn.members(plan.key, meta);
    let bytes = 0;
    const entries = plan.names.map((name, i) => {
      const value = meta === undefined ? undefined : turn.member(FIELD, meta, prefix + name);
      bytes += name.length + (value?.length ?? 0) + 16;
      return { name: plan.body.fields[i], value, found: value !== undefined };
    });
    turn.spend(bytes);
    return { found: meta !== undefined, revision: meta?.revision ?? 0, entries };
  },
};

export const hashDelete: Operation<pb.HashDelete> = {
  ...takes,
  reads: HASH,
  check: (body) => checkSome(body.fields.length, 'fields'),
  names: (body) => byteNames(body.fields),
  decide: (turn, plan) => removeMembers(turn, plan, HASH),
};

export const hashIncrement: Operation<pb.HashIncrement> = {
  ...adds,
  reads: HASH,
  check(body) {
    if (body.integer !== null) checkDelta(body.integer);
    else if (body.number === null || !Number.isFinite(body.number)) {
      throw new FlowError('INVALID_ARGUMENT', 'by must be an integer or a finite number');
    }
  },
  names: (body) => byteNames([body.field]),
  decide(turn, plan) {
    const [name = ''] = plan.names;
    const meta = turn.lookFor(plan.key, HASH);
    const before =
      meta === undefined ? undefined : turn.member(FIELD, meta, turn.members(plan.key, meta) + name);
    const { integer: whole, number: fraction } = plan.body;
    const sum = whole !== null ? addIntegers(before, whole) : addNumbers(before, fraction ?? 0);
    const values = [Buffer.from(String(sum))];
    turn.spend(plan.key.length + name.length + 32);
    const added = before === undefined ? 1 : 0;
    const revision = putFields(turn, plan.key, meta, { names: [name], values, added });
    return whole !== null ? { integer: sum, revision } : { number: sum, revision };
  },
};

interface FieldChanges {
  readonly names: readonly string[];
  readonly values: readonly Buffer[];
  readonly added: number;
}

/** Emits the fields; returns the key's new revision. */
function putFields(turn: Turn, key: string, meta: Meta | undefined, changes: FieldChanges): number {
  const { names, values, added } = changes;
  const revision = turn.nextRevision();
  const { generation = revision, expireAtMs = 0, count = 0 } = meta ?? {};
  const after = collectionMeta({ kind: HASH, revision, generation, expireAtMs, count: count + added });
  turn.emit({ ...turn.over(FIELDS_PUT, key, after), names, values } as FieldsPut);
  return revision;
}

const NUMBER = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;
const NUMBER_BYTES_MAX = 64;

/** `value` absent counts as 0. */
function addNumbers(value: Buffer | undefined, delta: number): number {
  let before = 0;
  if (value !== undefined) {
    const text = value.length <= NUMBER_BYTES_MAX ? value.toString('latin1') : '';
    if (!NUMBER.test(text)) throw new FlowError('WRONG_VALUE', 'the field is not a number');
    before = Number(text);
  }
  const sum = before + delta;
  if (Number.isFinite(sum)) return sum;
  throw new FlowError('WRONG_VALUE', 'the number would leave the range of doubles');
}
