// Whether a data plane can be reached, on a clock in the test's hand: what its objects are told, and when.
import { describe, expect, test } from 'vitest';
import type { Connection } from '../../operator/controllers/declared/connection.ts';
import { Plane } from '../../operator/controllers/declared/plane.ts';
import { settle, TestRuntime, testLog } from './kube/support.ts';

/** A data plane that can be there or not; a watch of it ends when it goes. */
function aPlane({ isThere = false } = {}) {
  const runtime = new TestRuntime();
  const told: string[] = [];
  let end: () => void = () => {};
  const itself: unknown[] = [];
  let attempts = 0;
  const connection = {
    listFigures: async () => ({
      queues: [{ name: 'emails', waiting: 3 }],
      streams: [],
      schemas: [],
      cursor: '',
    }),
    getCluster: async () => ({ clusterId: 'c1', storageBytes: 200, storageFreeBytes: world.freeBytes }),
    async *watch() {
      const ended = new Promise<void>((resolve) => {
        end = resolve;
      });
      yield { changes: [], resumeToken: '' };
      await ended;
    },
    close: () => {},
  } as unknown as Connection;
  const world = { isThere, freeBytes: 150 };
  const plane = new Plane({
    runtime,
    log: testLog(),
    times: { figuresMs: 30_000, graceMs: 10_000 },
    connect: async () => {
      attempts++;
      if (!world.isThere) throw new Error('refused');
      return connection;
    },
    events: {
      changed: (kind) => void told.push(`${plane.state}${kind === undefined ? '' : ` ${kind}`}`),
      changedItself: () => void itself.push(plane.facts),
      told: () => {},
    },
  });
  const goAway = async () => {
    world.isThere = false;
    end();
    await settle();
  };
  return { plane, runtime, told, itself, world, goAway, attempts: () => attempts };
}

test('what a data plane says of itself is told when it has changed, and kept while it is away', async () => {
  const { plane, runtime, itself, world, goAway } = aPlane({ isThere: true });
  await runtime.pass(1);
  const first = { clusterId: 'c1', usedPercent: 25 };
  expect(itself).toEqual([first]);
  await runtime.pass(120_000);
  expect(itself).toEqual([first]);
  world.freeBytes = 100;
  await runtime.pass(30_000);
  expect(itself).toEqual([first, { clusterId: 'c1', usedPercent: 50 }]);
  await goAway();
  await runtime.pass(60_000);
  expect(plane.facts).toEqual({ clusterId: 'c1', usedPercent: 50 });
  plane.close();
});

describe('a data plane that nobody can reach', () => {
  test('[P2] is down when its grace is over, however many attempts there were meanwhile', async () => {
    const { plane, runtime, told, attempts } = aPlane();
    await runtime.pass(9_999);
    expect([plane.state, told]).toEqual(['connecting', []]);
    expect(attempts()).toBeGreaterThan(4);
    await runtime.pass(1);
    expect([plane.state, told]).toEqual(['down', ['down']]);
    await runtime.pass(600_000);
    expect(told).toEqual(['down']);
    // One attempt at a time, at most every few seconds.
    expect(attempts()).toBeLessThan(100);
    plane.close();
  });

  test('[P3] is up as soon as it answers, with figures', async () => {
    const { plane, runtime, told, world } = aPlane();
    await runtime.pass(60_000);
    world.isThere = true;
    await runtime.pass(15_000);
    expect([plane.state, told]).toEqual(['up', ['down', 'up']]);
    expect(plane.summary('queue', 'emails')).toMatchObject({ waiting: 3 });
    plane.close();
  });
});

describe('a data plane that goes', () => {
  test('[P2] for less than the grace, as a pod that starts again: is never down', async () => {
    const { plane, runtime, told, world, goAway } = aPlane({ isThere: true });
    await settle();
    await goAway();
    await runtime.pass(5_000);
    expect(plane.state).toBe('connecting');
    world.isThere = true;
    await runtime.pass(60_000);
    expect([plane.state, told]).toEqual(['up', ['up', 'up']]);
    plane.close();
  });

  test('[P2] for longer: is down once, from the end of the watch on', async () => {
    const { plane, runtime, told, goAway } = aPlane({ isThere: true });
    await settle();
    await runtime.pass(100_000);
    await goAway();
    await runtime.pass(9_999);
    expect(plane.state).toBe('connecting');
    await runtime.pass(1);
    expect([plane.state, told]).toEqual(['down', ['up', 'down']]);
    plane.close();
    await runtime.pass(60_000);
    expect(runtime.timerCount).toBe(0);
  });
});
