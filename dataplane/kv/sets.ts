// Operations on sets: one row per member, without a value.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { ELEMENTS_ADDED, type ElementsAdded } from './events.ts';
import { removeMembers } from './members.ts';
import { byteNames, checkSome, type Operation } from './operation.ts';
import { adds, asks, takes } from './strings.ts';
import { collectionMeta, ELEMENT, SET } from './tables.ts';

export const setAdd: Operation<pb.SetAdd> = {
  ...adds,
  reads: SET,
  check: (body) => checkSome(body.members.length, 'members'),
  names: (body) => byteNames(body.members),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, SET);
    const prefix = meta === undefined ? '' : turn.members(plan.key, meta);
    const names: string[] = [];
    let bytes = plan.key.length;
    for (const name of new Set(plan.names)) {
      if (meta !== undefined && turn.member(ELEMENT, meta, prefix + name) !== undefined) continue;
      names.push(name);
      bytes += name.length + 2;
    }
    if (meta !== undefined && names.length === 0) return { integer: 0, revision: meta.revision };
    turn.spend(bytes);
    const revision = turn.nextRevision();
    const { generation = revision, expireAtMs = 0, count = 0 } = meta ?? {};
    const after = collectionMeta({
      kind: SET,
      revision,
      generation,
      expireAtMs,
      count: count + names.length,
    });
    turn.emit({ ...turn.over(ELEMENTS_ADDED, plan.key, after), names } as ElementsAdded);
    return { integer: names.length, revision };
  },
};

export const setRemove: Operation<pb.SetRemove> = {
  ...takes,
  reads: SET,
  check: (body) => checkSome(body.members.length, 'members'),
  names: (body) => byteNames(body.members),
  decide: (turn, plan) => removeMembers(turn, plan, SET),
};

export const setContains: Operation<pb.SetContains> = {
  ...asks,
  reads: SET,
  check: () => {},
  names: (body) => byteNames(body.members),
  decide(turn, plan) {
    const meta = turn.lookFor(plan.key, SET);
    const prefix = meta === undefined ? '' : turn.members(plan.key, meta);
    let bytes = 0;
    const entries = plan.names.map((name, i) => {
      bytes += name.length + 16;
      const found = meta !== undefined && turn.member(ELEMENT, meta, prefix + name) !== undefined;
      return { name: plan.body.members[i], found };
    });
    turn.spend(bytes);
    return { found: meta !== undefined, revision: meta?.revision ?? 0, entries };
  },
};
