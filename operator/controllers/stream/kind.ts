// Streams, as the operator declares and shows them.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { effectiveStream } from '../../../crds/effective.ts';
import { toStreamSpec } from '../../../crds/translate.ts';
import type { Stream, StreamSpec, StreamStatus } from '../../../crds/types.ts';
import type { KubeObject } from '../../kube/objects.ts';
import { dateOfOldest } from '../declared/age.ts';
import { type DeclaredKind, twoDigits } from '../declared/kinds.ts';

export interface StreamObject extends KubeObject {
  spec: StreamSpec;
  status?: StreamStatus;
}

type Figures = NonNullable<StreamStatus['figures']>;

/** Groups in a status; those with the most lag are shown. */
const GROUPS_MAX = 100;

export const STREAM = {
  kind: 'stream',
  resource: {
    group: 'flowmesh.io',
    version: 'v1alpha1',
    plural: 'streams',
    kind: 'Stream',
    namespaced: true,
  },
  always: (streamName) => ({ streamName }),
  nameOf: ({ metadata, spec }) => spec.streamName ?? metadata.name,
  async declare(connection, object, claim, signal) {
    const spec = toStreamSpec(object as Stream);
    const { stream, ...answer } = await connection.declareStream({ spec, ...claim }, signal);
    const effective = effectiveStream(object as Stream, stream?.spec ?? {});
    return { ...answer, effective, figures: firstFigures(stream) };
  },
  remove: (connection, request, signal) => connection.deleteStream(request, signal),
  figures: ({ records, bytes, groups }, shown, nowMs) => {
    const before = new Map((shown as Figures | undefined)?.groups?.map((each) => [each.name, each]));
    const most = [...groups].sort((a, b) => b.lag - a.lag || (a.group < b.group ? -1 : 1));
    const first = most.slice(0, GROUPS_MAX).sort((a, b) => (a.group < b.group ? -1 : 1));
    return {
      ...{ records, bytes },
      lag: most[0]?.lag ?? 0,
      members: groups.reduce((all, { members }) => all + members, 0),
      ...wantedOf(groups),
      groups: first.map(({ group, lag, members, oldestUncommittedAtMs, workersWanted }) => {
        const oldestReadyAt = dateOfOldest(before.get(group)?.oldestReadyAt, oldestUncommittedAtMs, nowMs);
        return {
          ...{ name: group, lag, members },
          ...(oldestReadyAt !== undefined && { oldestReadyAt }),
          ...(workersWanted !== null && { membersWanted: workersWanted }),
        };
      }),
    };
  },
  oldestReadyAtMs: ({ groups }) => {
    const waiting = groups.map((each) => each.oldestUncommittedAtMs).filter((atMs) => atMs > 0);
    return waiting.length === 0 ? 0 : Math.min(...waiting);
  },
  scaled: ({ spec: { consumerGroups = [] } }) =>
    consumerGroups.flatMap(({ name: group, scaling }) => (scaling === undefined ? [] : [{ group, scaling }])),
} satisfies DeclaredKind<StreamObject, 'stream'>;

/** Of those that are scaled, if there are any. */
function wantedOf(groups: readonly pb.GroupSummary[]): { membersWanted?: number } {
  const known = groups.flatMap(({ workersWanted }) => (workersWanted === null ? [] : [workersWanted]));
  return known.length === 0 ? {} : { membersWanted: known.reduce((all, each) => all + each, 0) };
}

function firstFigures(stream: pb.Stream | null): object {
  const partitions = stream?.partitions ?? [];
  const sum = (of: (partition: pb.PartitionFigures) => number) =>
    twoDigits(partitions.reduce((all, each) => all + of(each), 0));
  return {
    records: sum(({ end, logStart }) => end - logStart),
    bytes: sum(({ bytes }) => bytes),
    ...{ lag: 0, members: 0 },
    groups: [],
  };
}
