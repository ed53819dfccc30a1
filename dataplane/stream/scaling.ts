// What is measured of consumer groups for scaling. Lag is what is there and not committed, without what was
// trimmed and without partitions that stand still.
//   S1. A group that is declared and has had no member yet counts with all that is there: else nothing would
//       ever start its first worker.
//   S2. A group without members that is not scaled is looked at while anything moves, so that its rates fade:
//       groups that nobody knows any more, on streams that stand still, cost nothing.
import type { Signals } from '../scaling/signals.ts';
import { byName, orUnknown, type ScalingSource } from '../scaling/source.ts';
import type { PartitionCell, StreamCell } from './cells.ts';
import { groupNotFound } from './coordinator.ts';
import { streamNotFound } from './declare.ts';
import type { AnyGroup, DeclaredGroups } from './declared-groups.ts';
import { partitionFigures, workersAmong } from './group-figures.ts';
import type { Groups } from './groups.ts';
import type { GroupTarget, Locator } from './locator.ts';
import { oldestUncommittedAt } from './oldest.ts';

export function groupScaling(
  locator: Locator,
  groups: Groups,
  declared: DeclaredGroups,
): ScalingSource<GroupTarget> {
  const ends = new Ends();
  const need = ({ tenant, stream: name, group }: GroupTarget) => {
    const stream = locator.find(tenant, name);
    if (stream === undefined) throw streamNotFound(name);
    const spec = stream.cell.value.consumerGroups.find((each) => each.name === group);
    const cell = stream.groups.get(group);
    if (spec === undefined && cell === undefined) throw groupNotFound(name, group);
    return { stream, spec, cell };
  };
  const busyOf = (group: AnyGroup) => workersAmong(group, groups.onTheWay(group).keys());
  const nowMs = ({ cell }: StreamCell) => locator.home(cell.value.name).nowMs();
  return {
    kind: 'Stream',
    specOf: (target) => need(target).spec?.scaling ?? null,
    look() {
      declared.turn();
      for (const stream of streamsOf(locator)) {
        const scaled = new Set(
          stream.cell.value.consumerGroups.flatMap(({ name, scaling }) => (scaling === null ? [] : [name])),
        );
        for (const group of declared.of(stream)) look(group);
        const isWritten = ends.moved(stream, [...locator.partitions(stream)]);
        // S2.
        for (const group of stream.groups.values())
          if (group.members.size > 0 || scaled.has(group.group) || isWritten || group.meter.isMoving)
            look(group);
      }
    },
    *scaled() {
      for (const stream of streamsOf(locator)) {
        const { tenant, cell } = stream;
        for (const { name: group, scaling } of cell.value.consumerGroups) {
          if (scaling === null) continue;
          const target = { tenant, stream: cell.value.name, group };
          const measured = stream.groups.get(group) ?? declared.find(stream, group);
          if (measured === undefined) continue;
          yield { target, spec: scaling, measure: () => orUnknown(signalsOf(measured)) };
        }
      }
    },
    workers(target) {
      const { cell } = need(target);
      if (cell === undefined) return [];
      const busy = groups.onTheWay(cell);
      return byName(
        Array.from(cell.members.values(), ({ member, cell: { value } }) => ({
          name: value.client || member,
          leased: busy.get(member) ?? 0,
          build: '',
        })),
      );
    },
  };

  function look(group: AnyGroup): void {
    const partitions = [...locator.partitions(group.stream)].map((each) => partitionFigures(group, each));
    group.meter.look(nowMs(group.stream), partitions, busyOf(group));
  }

  async function signalsOf(group: AnyGroup): Promise<Signals | null> {
    const { stream, meter } = group;
    if (!meter.meter.isKnown) return null;
    const atMs = nowMs(stream);
    const all = [...locator.partitions(stream)];
    const moving = all.filter(({ partition }) => !meter.isStalled(partition, atMs));
    const stalledPartitions = all.length - moving.length;
    return {
      atMs,
      lag: moving.reduce((sum, each) => sum + partitionFigures(group, each).lag, 0),
      inFlight: 0,
      oldestReadyAtMs: await oldestUncommittedAt(group, moving),
      ...meter.meter.figures,
      workers: workersAmong(group),
      busyWorkers: busyOf(group),
      stalled: stalledPartitions > 0 || meter.meter.stuckMs >= meter.meter.stallMs,
      partitions: all.length,
      stalledPartitions,
    };
  }
}

/** Of all tenants, each once, from its home shard. */
function* streamsOf(locator: Locator): Generator<StreamCell> {
  for (const view of locator.views) {
    for (const stream of view.allStreams()) {
      if (locator.find(stream.tenant, stream.cell.value.name) === stream) yield stream;
    }
  }
}

/** Whether anything was written to a stream since the last look. */
class Ends {
  readonly #seen = new WeakMap<StreamCell, number>();

  moved(stream: StreamCell, partitions: readonly PartitionCell[]): boolean {
    const end = partitions.reduce((sum, { visibleEnd }) => sum + visibleEnd, 0);
    const before = this.#seen.get(stream);
    this.#seen.set(stream, end);
    return before !== end;
  }
}
