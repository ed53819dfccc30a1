// A stream in one line: sums over its partitions, and how far each group is behind, in records and in time.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { StreamCell } from './cells.ts';
import type { AnyGroup, DeclaredGroups } from './declared-groups.ts';
import { partitionFigures, workersAmong } from './group-figures.ts';
import type { Groups } from './groups.ts';
import type { Locator } from './locator.ts';
import { oldestUncommittedAt } from './oldest.ts';

const GROUPS_MAX = 1000;

/** As evolved, so maybe not durable. */
export async function streamSummary(
  locator: Locator,
  live: Groups,
  declared: DeclaredGroups,
  stream: StreamCell,
): Promise<pb.StreamSummaryInput> {
  const { name, partitions: count, ownership } = stream.cell.value;
  const partitions = [...locator.partitions(stream)];
  let records = 0;
  let bytes = 0;
  for (const { log, visibleEnd } of partitions) {
    records += Math.max(0, visibleEnd - log.startOffset);
    bytes += log.byteLength;
  }
  const all = [...stream.groups.values(), ...declared.of(stream)];
  const shown = all.sort((a, b) => (a.group < b.group ? -1 : 1)).slice(0, GROUPS_MAX);
  const groups = await Promise.all(shown.map((group) => groupSummary(locator, live, group)));
  return {
    ...{ name, partitions: count, records, bytes, groups },
    ownerUid: ownership?.owner.uid ?? '',
    generation: ownership?.generation ?? 0,
    drifted: ownership?.isDrifted ?? false,
  };
}

/** The same numbers as in Signals, for people and metrics. */
export async function groupSummary(
  locator: Locator,
  live: Groups,
  group: AnyGroup,
): Promise<pb.GroupSummaryInput> {
  const { stream, members, meter } = group;
  const partitions = [...locator.partitions(stream)];
  return {
    group: group.group,
    lag: partitions.reduce((sum, partition) => sum + partitionFigures(group, partition).lag, 0),
    members: members.size,
    busyWorkers: workersAmong(group, live.onTheWay(group).keys()),
    workersWanted: locator.wanted({
      ...{ tenant: stream.tenant, stream: stream.cell.value.name, group: group.group },
    }),
    ...meter.meter.figures,
    oldestUncommittedAtMs: await oldestUncommittedAt(group, partitions),
  };
}
