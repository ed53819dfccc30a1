// The age of a group: since when the oldest record that it has not committed has been there.
//   A1. A record is looked up once for each place where a group stands: who polls a thousand streams that
//       stand still reads nothing.
//   A2. What cannot be read has no age: one damaged segment must not hide the figures of everything else.
import { FlowError } from '@flowmesh/protocol';
import type { GroupCell, PartitionCell } from './cells.ts';
import { partitionFigures } from './group-figures.ts';

type Fronted = Pick<GroupCell, 'group' | 'assignments' | 'fronts'>;

/** Milliseconds of shard time; 0: it has committed all there is. */
export async function oldestUncommittedAt(
  group: Fronted,
  partitions: readonly PartitionCell[],
): Promise<number> {
  const times = await Promise.all(partitions.map((each) => frontOf(group, each)));
  const oldest = Math.min(...times.filter((atMs) => atMs > 0));
  return Number.isFinite(oldest) ? oldest : 0;
}

async function frontOf(group: Fronted, partition: PartitionCell): Promise<number> {
  const { committed, logStart, lag } = partitionFigures(group, partition);
  if (lag === 0) return 0;
  const offset = Math.max(committed, logStart);
  const known = group.fronts.get(partition.partition);
  if (known?.offset === offset) return known.atMs;
  try {
    const atMs = await partition.log.timeAt(offset);
    group.fronts.set(partition.partition, { offset, atMs });
    return atMs;
  } catch (error) {
    if (error instanceof FlowError) return 0;
    throw error;
  }
}
