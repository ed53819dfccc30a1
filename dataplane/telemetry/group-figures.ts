// Gauges of consumer groups.
//   G1. At most GROUPS_MAX groups carry their name. A stream that does not answer is left out.

import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { createSpeedFigures, type MakeFigure } from './speed-figures.ts';

const GROUPS_MAX = 1000;

export interface GroupSource {
  listGroups(stream: string): Promise<pb.ListGroupsResponseInput>;
}

/** Returns what fills them for these streams; resolves to how many groups were left out. */
export function createGroupFigures(figure: MakeFigure) {
  const names = ['stream', 'group'];
  const lag = figure('stream_group_lag', 'Records still to read.', [...names, 'partition']);
  const members = figure('stream_group_members', 'Members of the group.', names);
  const oldest = figure(
    'stream_group_oldest_uncommitted_timestamp_seconds',
    'When the oldest record was written that is to be read; 0: none.',
    names,
  );
  const committed = figure(
    'stream_group_committed_timestamp_seconds',
    'When the group committed last in any partition; 0: never.',
    names,
  );
  const idle = figure(
    'stream_group_idle_since_timestamp_seconds',
    'Since when the group has no members; 0: it has some.',
    names,
  );

  const speed = createSpeedFigures(figure, 'stream_group', 'member', names);

  function show(each: pb.GroupInput): void {
    const labels = { stream: each.stream ?? '', group: each.group ?? '' };
    for (const { partition, lag: records } of each.partitions ?? [])
      lag(records, { ...labels, partition: partition ?? 0 });
    members(each.members?.length, labels);
    committed((each.committedAtMs ?? 0) / 1000, labels);
    oldest((each.figures?.oldestUncommittedAtMs ?? 0) / 1000, labels);
    speed(each.figures, labels);
    idle((each.idleSinceMs ?? 0) / 1000, labels);
  }

  return async (source: GroupSource, streams: readonly string[]): Promise<() => number> => {
    const answers = await Promise.all(streams.map((name) => source.listGroups(name).catch(() => undefined)));
    const groups = answers.flatMap((answer) => answer?.groups ?? []);
    return () => {
      groups.slice(0, GROUPS_MAX).forEach(show);
      return Math.max(0, groups.length - GROUPS_MAX);
    };
  };
}
