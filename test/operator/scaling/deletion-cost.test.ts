// Which pods are kept when a Deployment shrinks, and what that costs in writes.
import { expect, test } from 'vitest';
import type { Advice } from '../../../operator/controllers/scaling/advice.ts';
import {
  BUSY_COST,
  COST,
  costsDue,
  DeletionCosts,
} from '../../../operator/controllers/scaling/deletion-cost.ts';
import { aTarget } from './builders.ts';

const pod = (name: string, cost?: string, more: object = {}) => ({
  metadata: { name, ...(cost !== undefined && { annotations: { [COST]: cost } }), ...more },
});

function workload(replicas: number) {
  const clock = { nowMs: 0 };
  const pods = new Map<string, string | undefined>();
  for (let i = 0; i < replicas; i++) pods.set(`w-${i}`, undefined);
  const writes: string[] = [];
  let lists = 0;
  const costs = new DeletionCosts({
    monotonicMs: () => clock.nowMs,
    podsOf: async () => {
      lists++;
      return [...pods].map(([name, cost]) => pod(name, cost));
    },
    writer: {
      merge: async (_: unknown, { name }: { name: string }, change: unknown) => {
        const { annotations } = (change as { metadata: { annotations: Record<string, string | null> } })
          .metadata;
        pods.set(name, annotations[COST] ?? undefined);
        writes.push(`${name} ${annotations[COST]}`);
      },
    },
  });
  const look = (wanted: number, busy: readonly number[], lag = 0, target = aTarget({ from: 1 })) => {
    const workers = [...pods.keys()].map((name, index) => ({
      name,
      busy: busy.includes(index),
      leased: 0,
      build: '',
    }));
    const advice: Advice = { lag, wanted, reason: 'KeepUp', why: 'so', workers };
    const scale = { metadata: { name: 'w' }, spec: { replicas }, status: { replicas, selector: 'app=w' } };
    clock.nowMs += 5_000;
    return costs.keep({ target, scale, advice }, new AbortController().signal);
  };
  return { look, writes, lists: () => lists };
}

test('K1 nothing is written or listed while as many are wanted, however busy they are', async () => {
  const { look, writes, lists } = workload(4);
  for (const busy of [[0], [0, 1], [2], [0, 3]]) expect(await look(4, busy)).toBe(true);
  expect(await look(4, [0, 1, 2, 3])).toBe(false);
  expect(await look(4, [0], 10)).toBe(false);
  expect([writes, lists()]).toEqual([[], 0]);
});

test('K1 at the fewest there may be, nothing is near', async () => {
  expect(await workload(1).look(1, [])).toBe(false);
});

test('K2 who is busy for long is kept, and who has become idle is not', async () => {
  const { look, writes } = workload(4);
  await look(4, [0, 1]);
  await look(2, [0, 2]);
  expect(writes).toEqual([`w-0 ${BUSY_COST}`]);
  await look(2, [2]);
  expect(writes.slice(1)).toEqual([`w-2 ${BUSY_COST}`, 'w-0 null']);
  await look(2, [2]);
  expect(writes).toHaveLength(3);
});

test('K3 changes are few, whatever the workers do', async () => {
  const { look, writes } = workload(100);
  const half = (odd: number) => Array.from({ length: 50 }, (_, at) => 2 * at + odd);
  await look(100, half(0));
  for (let minute = 0; minute < 12; minute++) await look(50, half(Math.floor(minute / 2) % 2));
  expect(writes.length).toBeGreaterThan(20);
  expect(writes.length).toBeLessThanOrEqual(20 + 11);
});

test('K3 a cost that somebody else has set stays, and so does a pod that goes', () => {
  const pods = [pod('a', '7'), pod('b', BUSY_COST, { deletionTimestamp: 'now' }), pod('c')];
  expect(costsDue(pods, new Set(['a', 'b']), new Set(['a', 'b']))).toEqual([]);
  expect(costsDue([pod('c', BUSY_COST)], new Set(), new Set())).toEqual([{ name: 'c', cost: null }]);
});

test('of a StatefulSet, which takes its pods by number, none', async () => {
  const { look, writes } = workload(4);
  const target = aTarget({ workload: { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'w' } });
  for (let i = 0; i < 3; i++) expect(await look(2, [0], 0, target)).toBe(false);
  expect(writes).toEqual([]);
});
