// Operations on strings, and those that any type has: delete, expire, inspect.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { EXPIRY_SET, STRING_PUT } from './events.ts';
import { checkValue, noCheck, noNames, type Operation } from './operation.ts';
import { collectionMeta, META_TERMS, type Meta, STRING, stringMeta, TYPE_NAMES } from './tables.ts';

/** Keeps now + ttl far below 2^53. */
const TTL_MS_MAX = 2 ** 52;

const key = { reads: 0, names: noNames, check: noCheck } as const;
export const asks = { writes: false, grows: false } as const;
export const adds = { writes: true, grows: true } as const;
export const takes = { writes: true, grows: false } as const;

export const get: Operation<pb.KvGet> = {
  ...key,
  ...asks,
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, STRING);
    if (meta === undefined) return { found: false };
    const { value, contentType, revision } = meta;
    turn.spend(value.length + contentType.length);
    return { found: true, value, contentType, revision, ttlMs: ttlOf(meta, turn.nowMs) };
  },
};

export const set: Operation<pb.KvSet> = {
  ...key,
  ...adds,
  check(body) {
    checkValue(body.value);
    if (body.contentType.length > LIMITS.nameBytes)
      throw invalid(`content_type is longer than ${LIMITS.nameBytes}`);
    if (body.ifAbsent && body.ifPresent) throw invalid('if_absent and if_present exclude each other');
    if (body.keepTtl && body.ttlMs !== 0) throw invalid('keep_ttl and ttl_ms exclude each other');
    checkTtl(body.ttlMs);
  },
  decide(turn, plan) {
    const { value, contentType, ttlMs, keepTtl, ifAbsent, ifPresent, ifRevision } = plan.body;
    const meta = turn.look(plan.key);
    if (
      (ifAbsent && meta !== undefined) ||
      (ifPresent && meta === undefined) ||
      (ifRevision !== 0 && meta?.revision !== ifRevision)
    ) {
      return turn.unmet(meta);
    }
    turn.spend(plan.key.length + contentType.length + value.length);
    const revision = turn.nextRevision();
    const expireAtMs = ttlMs > 0 ? turn.nowMs + ttlMs : keepTtl && meta !== undefined ? meta.expireAtMs : 0;
    turn.emit(turn.over(STRING_PUT, plan.key, stringMeta({ revision, expireAtMs, contentType, value })));
    return { found: true, revision };
  },
};

/** A set without any terms. The answer is the same for all: nobody asks it for a revision. */
export const plainSet: Operation<{ readonly key: Buffer; readonly value: Buffer }> = {
  ...key,
  ...adds,
  check: ({ value }) => checkValue(value),
  decide(turn, plan) {
    const { value } = plan.body;
    turn.look(plan.key, META_TERMS);
    turn.spend(plan.key.length + value.length);
    const terms = { revision: turn.nextRevision(), expireAtMs: 0, contentType: '', value };
    turn.emit(turn.over(STRING_PUT, plan.key, stringMeta(terms)));
    return DONE;
  },
};

const DONE: pb.KvResultInput = { found: true };

export const increment: Operation<pb.KvIncrement> = {
  ...key,
  ...adds,
  check: (body) => checkDelta(body.delta),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, STRING);
    const integer = addIntegers(meta?.value, plan.body.delta);
    const value = Buffer.from(String(integer));
    turn.spend(plan.key.length + value.length);
    const revision = turn.nextRevision();
    const { expireAtMs = 0, contentType = '' } = meta ?? {};
    turn.emit(turn.over(STRING_PUT, plan.key, stringMeta({ revision, expireAtMs, contentType, value })));
    return { integer, revision };
  },
};

/** Of any type. */
export const del: Operation<pb.KvDelete> = {
  ...key,
  ...takes,
  decide(turn, plan) {
    const meta = turn.look(plan.key);
    const { ifRevision } = plan.body;
    if (ifRevision !== 0 && meta?.revision !== ifRevision) return turn.unmet(meta);
    if (meta === undefined) return { found: false };
    turn.spend(plan.key.length);
    turn.emitDeleted(plan.key, meta);
    return { found: true };
  },
};

/** Nothing but a condition, for transactions: the key is at this revision; 0: there is none. */
export const check: Operation<pb.KvCheck> = {
  ...key,
  ...asks,
  decide(turn, plan) {
    const meta = turn.look(plan.key);
    const revision = meta?.revision ?? 0;
    return revision === plan.body.revision ? { found: true, revision } : turn.unmet(meta);
  },
};

/** A change of the expiry is a change of the key: it gets a revision, and a compare-and-set notices. */
export const expire: Operation<pb.KvExpire> = {
  ...key,
  ...takes,
  check: (body) => checkTtl(body.ttlMs),
  decide(turn, plan) {
    const meta = turn.look(plan.key);
    if (meta === undefined) return { found: false };
    const { ttlMs } = plan.body;
    const expireAtMs = ttlMs === 0 ? 0 : turn.nowMs + ttlMs;
    if (expireAtMs === meta.expireAtMs) return { found: true, revision: meta.revision };
    turn.spend(plan.key.length + meta.contentType.length + meta.value.length);
    const revision = turn.nextRevision();
    turn.emit(turn.over(EXPIRY_SET, plan.key, until(meta, revision, expireAtMs)));
    return { found: true, revision };
  },
};

export const inspect: Operation<pb.KvInspect> = {
  ...key,
  ...asks,
  decide(turn, plan) {
    const meta = turn.look(plan.key);
    if (meta === undefined) return { found: false };
    const { kind, revision, count, value } = meta;
    turn.spend(0);
    const integer = kind === STRING ? value.length : count;
    return { found: true, type: TYPE_NAMES[kind], revision, ttlMs: ttlOf(meta, turn.nowMs), integer };
  },
};

const until = (meta: Meta, revision: number, expireAtMs: number): Meta => {
  const { kind, generation, count, contentType, value } = meta;
  return kind === STRING
    ? stringMeta({ revision, expireAtMs, contentType, value })
    : collectionMeta({ kind, revision, generation, expireAtMs, count });
};

export const ttlOf = (meta: Meta, nowMs: number): number =>
  meta.expireAtMs === 0 ? -1 : meta.expireAtMs - nowMs;

const INTEGER = /^(0|-?[1-9][0-9]*)$/;
/** `-9007199254740991` */
const INTEGER_BYTES_MAX = 17;

/** `value` absent counts as 0. */
export function addIntegers(value: Buffer | undefined, delta: number): number {
  let before = 0;
  if (value !== undefined) {
    const text = value.length <= INTEGER_BYTES_MAX ? value.toString('latin1') : '';
    if (!INTEGER.test(text)) throw new FlowError('WRONG_VALUE', 'the value is not a whole number below 2^53');
    before = Number(text);
  }
  const sum = before + delta;
  if (Number.isSafeInteger(before) && Number.isSafeInteger(sum)) return sum;
  throw new FlowError('WRONG_VALUE', 'the number would leave the range of whole numbers, 2^53');
}

export function checkDelta(delta: number): void {
  if (!Number.isSafeInteger(delta)) throw invalid('delta must be a whole number below 2^53');
}

function checkTtl(ttlMs: number): void {
  if (!(ttlMs >= 0 && ttlMs <= TTL_MS_MAX)) throw invalid(`ttl_ms must be at most ${TTL_MS_MAX}`);
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
