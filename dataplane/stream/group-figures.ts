// What a group looks like from outside: state, members, where each partition stands.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { NOBODY } from './assignment.ts';
import type { GroupCell, MemberCell, PartitionCell } from './cells.ts';
import type { AnyGroup } from './declared-groups.ts';
import type { Locator } from './locator.ts';

/** A group without members for this long shows it: its offsets are kept, but maybe nobody knows any more. */
const IDLE_AFTER_MS = 7 * 24 * 3_600_000;

/** As evolved, so maybe not durable: await `settled` of the stream before the figures leave. */
export function groupFigures(locator: Locator, group: AnyGroup): pb.GroupInput {
  const { name } = group.stream.cell.value;
  const partitions = [...locator.partitions(group.stream)].map((each) => partitionFigures(group, each));
  const committedAtMs = Math.max(0, ...partitions.map((p) => p.committedAtMs));
  const idleSinceMs = idleSince(group, committedAtMs);
  const owned = (member: string) => partitions.filter((p) => p.memberId === member).map((p) => p.partition);
  return {
    stream: name,
    group: group.group,
    state: stateOf(group, idleSinceMs, locator.home(name).nowMs()),
    epoch: group.cell?.value.epoch ?? 0,
    members: [...group.members.values()].sort(byName).map(({ member, cell }) => {
      const { client, epoch } = cell.value;
      return { memberId: member, client, epoch, partitions: owned(member) };
    }),
    partitions,
    lag: partitions.reduce((sum, { lag }) => sum + lag, 0),
    idleSinceMs,
    committedAtMs,
  };
}

export function partitionFigures(group: Pick<GroupCell, 'group' | 'assignments'>, partition: PartitionCell) {
  const { log, visibleEnd: end } = partition;
  const cursor = partition.cursors.get(group.group)?.value;
  const assignment = group.assignments.get(partition.partition)?.value;
  const logStart = log.startOffset;
  const committed = cursor === undefined || cursor.offset === -1 ? logStart : cursor.offset;
  return {
    partition: partition.partition,
    committed,
    logStart,
    end,
    // What was trimmed can never be read: it is no work that waits.
    lag: Math.max(0, end - Math.max(committed, logStart)),
    memberId: assignment?.owner ?? NOBODY,
    epoch: assignment?.epoch ?? 0,
    metadata: cursor?.metadata ?? '',
    committedAtMs: cursor?.committedAtMs ?? 0,
  };
}

/** What has one name is one worker: a pod may read by several members, and what is scaled is pods. */
export function workersAmong(
  { members }: Pick<GroupCell, 'members'>,
  some: Iterable<string> = members.keys(),
): number {
  return new Set(Array.from(some, (member) => members.get(member)?.cell.value.client || member)).size;
}

function idleSince({ members, cell, stream }: AnyGroup, committedAtMs: number): number {
  if (members.size > 0) return 0;
  if (cell === undefined) return stream.cell.value.createdAtMs;
  const { emptySinceMs, createdAtMs } = cell.value;
  return Math.max(emptySinceMs, createdAtMs, committedAtMs);
}

type State = 'idle' | 'empty' | 'stable' | 'rebalancing';

function stateOf(group: AnyGroup, idleSinceMs: number, nowMs: number): State {
  if (group.members.size === 0) return nowMs - idleSinceMs >= IDLE_AFTER_MS ? 'idle' : 'empty';
  if (group.assignments.size < group.stream.cell.value.partitions) return 'rebalancing';
  for (const { value } of group.assignments.values()) {
    if (value.target !== null || value.owner === NOBODY) return 'rebalancing';
  }
  return 'stable';
}

const byName = (a: MemberCell, b: MemberCell) => (a.member < b.member ? -1 : 1);
