// Since when a group has something to read: what is looked up, how often, and what cannot be.
import { FlowError } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import type { GroupCell, PartitionCell } from '../../dataplane/stream/cells.ts';
import { oldestUncommittedAt } from '../../dataplane/stream/oldest.ts';

/** A group that has committed up to `committed` of a partition with ten records, one a second. */
function aPlace(partition: number, committed: { offset: number }, isDamaged = false) {
  const asked: number[] = [];
  const cell = {
    partition,
    visibleEnd: 10,
    cursors: new Map([['g', { value: committed }]]),
    log: {
      startOffset: 2,
      async timeAt(offset: number) {
        asked.push(offset);
        if (isDamaged) throw new FlowError('DATA_DAMAGED', 'segment 0 at 17');
        return 1000 * offset;
      },
    },
  };
  return { asked, cell: cell as unknown as PartitionCell };
}

const aGroup = () => ({ group: 'g', assignments: new Map(), fronts: new Map() }) as unknown as GroupCell;

test('the oldest of all partitions, from the log start on, looked up once for each place', async () => {
  const [committed, group] = [{ offset: 5 }, aGroup()];
  const [behind, trimmed, done] = [aPlace(0, committed), aPlace(1, { offset: 0 }), aPlace(2, { offset: 10 })];
  const partitions = [behind.cell, trimmed.cell, done.cell];
  expect(await oldestUncommittedAt(group, partitions)).toBe(2000);
  expect(await oldestUncommittedAt(group, partitions)).toBe(2000);
  expect([behind.asked, trimmed.asked, done.asked]).toEqual([[5], [2], []]);
  committed.offset = 7;
  expect(await oldestUncommittedAt(group, [behind.cell, done.cell])).toBe(7000);
  expect(behind.asked).toEqual([5, 7]);
});

test('a damaged segment has no age, and hides no other', async () => {
  const damaged = aPlace(0, { offset: 3 }, true);
  const whole = aPlace(1, { offset: 4 });
  expect(await oldestUncommittedAt(aGroup(), [damaged.cell, whole.cell])).toBe(4000);
  expect(await oldestUncommittedAt(aGroup(), [damaged.cell])).toBe(0);
});
