// What hashes, sets and sorted sets share: taking members away.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { MEMBERS_REMOVED, type MembersRemoved } from './events.ts';
import type { Keyed, Plan } from './operation.ts';
import { collectionMeta, type Kind, memberTable, ZSET } from './tables.ts';
import type { Turn } from './turn.ts';

/** -> integer: members removed. The last one takes the key with it. */
export function removeMembers(turn: Turn, plan: Plan<Keyed>, kind: Kind): pb.KvResultInput {
  const meta = turn.lookFor(plan.key, kind);
  if (meta === undefined) return { integer: 0 };
  const table = memberTable(kind);
  const prefix = turn.members(plan.key, meta);
  const names: string[] = [];
  const scores: number[] = [];
  let bytes = plan.key.length;
  for (const name of new Set(plan.names)) {
    const value = turn.member(table, meta, prefix + name);
    if (value === undefined) continue;
    names.push(name);
    if (kind === ZSET) scores.push(value as number);
    bytes += name.length + 10;
  }
  if (names.length === 0) return { integer: 0, revision: meta.revision };
  turn.spend(bytes);
  const revision = turn.nextRevision();
  const { generation, expireAtMs } = meta;
  const after = collectionMeta({ kind, revision, generation, expireAtMs, count: meta.count - names.length });
  turn.emit({ ...turn.over(MEMBERS_REMOVED, plan.key, after), names, scores } as MembersRemoved);
  return { integer: names.length, revision: after.count === 0 ? 0 : revision };
}
