// Operations on sorted sets: a row per member with its score, and one that orders members by (score, member).
//   Z1. Both rows of a member change in one event. -0 is stored as 0; NaN never is.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { SCORES_PUT, type ScoresPut } from './events.ts';
import { removeMembers } from './members.ts';
import { byteNames, checkSome, lastMentions, type Operation } from './operation.ts';
import { adds, asks, takes } from './strings.ts';
import { collectionMeta, type Meta, SCORE, ZSET } from './tables.ts';
import type { Turn } from './turn.ts';

export const sortedSetAdd: Operation<pb.SortedSetAdd> = {
  ...adds,
  reads: ZSET,
  check(body) {
    checkSome(body.members.length, 'members');
    for (const { score } of body.members) checkScore(score);
  },
  names: (body) => byteNames(body.members.map(({ member }) => member)),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, ZSET);
    const prefix = meta === undefined ? '' : turn.members(plan.key, meta);
    const changes: ScoreChanges = { names: [], scores: [], befores: [], added: 0 };
    let bytes = plan.key.length;
    for (const [name, i] of lastMentions(plan.names)) {
      const score = plainZero(plan.body.members[i]?.score ?? 0);
      const before = meta === undefined ? undefined : turn.member(SCORE, meta, prefix + name);
      if (score === before) continue;
      note(changes, name, score, before);
      bytes += name.length + 18;
    }
    if (meta !== undefined && changes.names.length === 0) return { integer: 0, revision: meta.revision };
    turn.spend(bytes);
    const revision = putScores(turn, plan.key, meta, changes);
    return { integer: changes.added, revision };
  },
};

export const sortedSetRemove: Operation<pb.SortedSetRemove> = {
  ...takes,
  reads: ZSET,
  check: (body) => checkSome(body.members.length, 'members'),
  names: (body) => byteNames(body.members),
  decide: (turn, plan) => removeMembers(turn, plan, ZSET),
};

export const sortedSetScore: Operation<pb.SortedSetScore> = {
  ...asks,
  reads: ZSET,
  check: () => {},
  names: (body) => byteNames(body.members),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, ZSET);
    const prefix = meta === undefined ? '' : turn.members(plan.key, meta);
    let bytes = 0;
    const entries = plan.names.map((name, i) => {
      bytes += name.length + 24;
      const score = meta === undefined ? undefined : turn.member(SCORE, meta, prefix + name);
      return { name: plan.body.members[i], score, found: score !== undefined };
    });
    turn.spend(bytes);
    return { found: meta !== undefined, revision: meta?.revision ?? 0, entries };
  },
};

export const sortedSetIncrement: Operation<pb.SortedSetIncrement> = {
  ...adds,
  reads: ZSET,
  check: (body) => checkScore(body.delta),
  names: (body) => byteNames([body.member]),
  decide(turn, plan) {
    const [name = ''] = plan.names;
    const meta = turn.lookFor(plan.key, ZSET);
    const before =
      meta === undefined ? undefined : turn.member(SCORE, meta, turn.members(plan.key, meta) + name);
    const number = plainZero((before ?? 0) + plan.body.delta);
    if (Number.isNaN(number)) {
      throw new FlowError('WRONG_VALUE', 'adding opposite infinities gives no score');
    }
    if (meta !== undefined && number === before) return { number, revision: meta.revision };
    turn.spend(plan.key.length + name.length + 18);
    const changes: ScoreChanges = { names: [], scores: [], befores: [], added: 0 };
    note(changes, name, number, before);
    return { number, revision: putScores(turn, plan.key, meta, changes) };
  },
};

interface ScoreChanges {
  readonly names: string[];
  readonly scores: number[];
  /** NaN: the member is new. */
  readonly befores: number[];
  added: number;
}

function note(changes: ScoreChanges, name: string, score: number, before: number | undefined): void {
  changes.names.push(name);
  changes.scores.push(score);
  changes.befores.push(before ?? Number.NaN);
  if (before === undefined) changes.added++;
}

/** Emits the scores; returns the key's new revision. */
function putScores(turn: Turn, key: string, meta: Meta | undefined, changes: ScoreChanges): number {
  const { names, scores, befores, added } = changes;
  const revision = turn.nextRevision();
  const { generation = revision, expireAtMs = 0, count = 0 } = meta ?? {};
  const after = collectionMeta({ kind: ZSET, revision, generation, expireAtMs, count: count + added });
  turn.emit({ ...turn.over(SCORES_PUT, key, after), names, scores, befores } as ScoresPut);
  return revision;
}

const plainZero = (score: number): number => (score === 0 ? 0 : score);

function checkScore(score: number): void {
  if (Number.isNaN(score)) throw new FlowError('INVALID_ARGUMENT', 'a score must be a number, not NaN');
}
