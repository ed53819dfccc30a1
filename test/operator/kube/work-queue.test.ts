// The order and the promises of the work queue, with a clock in the test's hand.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Lane, type Work, WorkQueue } from '../../../operator/kube/work-queue.ts';
import { TestRuntime } from './support.ts';

function aQueue({ workersMax = 1 } = {}) {
  const runtime = new TestRuntime();
  const seen = { added: 0, retried: 0, waitedMs: [] as number[], workedMs: [] as number[] };
  const queue = new WorkQueue({
    runtime,
    workersMax,
    onReady: () => {},
    meter: {
      added: () => void seen.added++,
      retried: () => void seen.retried++,
      waited: (ms) => void seen.waitedMs.push(ms),
      worked: (ms) => void seen.workedMs.push(ms),
    },
  });
  return { queue, runtime, seen };
}

const taken = (queue: WorkQueue) => {
  const work = queue.take();
  if (work !== undefined) queue.done(work.key);
  return work?.key;
};

const drained = (queue: WorkQueue) => {
  const keys: string[] = [];
  for (let key = taken(queue); key !== undefined; key = taken(queue)) keys.push(key);
  return keys;
};

test('[W1] a key that is under way is not handed out again; added meanwhile it is due right after', () => {
  const { queue } = aQueue({ workersMax: 4 });
  queue.add('a', 'change');
  expect(queue.take()?.key).toBe('a');
  queue.add('a', 'change');
  queue.add('a', 'change');
  expect(queue.take()).toBeUndefined();
  queue.done('a');
  expect(queue.take()?.key).toBe('a');
  queue.done('a');
  expect(queue.take()).toBeUndefined();
});

test('[W2] a key waits once, in its most urgent lane', () => {
  const { queue, seen } = aQueue();
  queue.add('a', 'resync');
  queue.add('b', 'change');
  queue.add('a', 'resync');
  queue.add('a', 'deletion');
  queue.add('a', 'change');
  expect([queue.depth, seen.added]).toEqual([2, 2]);
  expect(drained(queue)).toEqual(['a', 'b']);
});

test('[W3] a failure comes back later and later, a success starts anew', async () => {
  const { queue, runtime, seen } = aQueue();
  queue.add('a', 'change');
  const waits: number[] = [];
  for (let n = 0; n < 12; n++) {
    const work = queue.take() as Work;
    expect(work.failures).toBe(n);
    waits.push(queue.failed('a'));
    expect(queue.take()).toBeUndefined();
    await runtime.pass(waits.at(-1) ?? 0);
  }
  expect(waits.slice(0, 4)).toEqual([150, 300, 600, 1200]);
  expect(waits.slice(-2)).toEqual([45_000, 45_000]);
  expect(seen.retried).toBe(12);
  queue.take();
  queue.done('a');
  queue.add('a', 'change');
  expect(queue.take()?.failures).toBe(0);
});

test('[W3] a key has one later time, the earliest; starting it forgets that', async () => {
  const { queue, runtime } = aQueue();
  queue.addAfter('a', 5_000, 'resync');
  queue.addAfter('a', 1_000, 'change');
  queue.addAfter('a', 3_000, 'change');
  expect(queue.laterCount).toBe(1);
  await runtime.pass(1_000);
  expect(drained(queue)).toEqual(['a']);
  queue.addAfter('a', 1_000, 'change');
  queue.add('a', 'change');
  expect(drained(queue)).toEqual(['a']);
  await runtime.pass(10_000);
  expect(drained(queue)).toEqual([]);
  expect(runtime.timerCount).toBe(0);
});

test('[W4] a storm of retries that hang does not keep deletions from running', () => {
  const { queue } = aQueue({ workersMax: 3 });
  for (let n = 0; n < 100; n++) queue.add(`stuck-${n}`, 'change');
  expect([queue.take()?.key, queue.take()?.key, queue.take()?.key]).toEqual([
    'stuck-0',
    'stuck-1',
    undefined,
  ]);
  queue.add('going', 'deletion');
  expect(queue.take()?.key).toBe('going');
  queue.add('going too', 'deletion');
  expect(queue.take()).toBeUndefined();
  queue.done('going');
  expect(queue.take()?.key).toBe('going too');
  queue.done('stuck-0');
  expect(queue.take()?.key).toBe('stuck-2');
});

test('[W4] a storm of deletions does not starve the rest', () => {
  const { queue } = aQueue();
  queue.add('quiet', 'resync');
  const keys: (string | undefined)[] = [];
  for (let n = 0; n < 20; n++) {
    queue.add(`going-${n}`, 'deletion');
    keys.push(taken(queue));
  }
  expect(keys.indexOf('quiet')).toBeLessThan(8);
  expect(keys.indexOf('quiet')).toBeGreaterThan(-1);
});

test('[W5] ten thousand later times are one timer, and forgotten ones are swept out', async () => {
  const { queue, runtime } = aQueue();
  for (let n = 0; n < 10_000; n++) queue.addAfter(`k${n}`, 1_000 + ((n * 7919) % 10_000), 'resync');
  expect([queue.laterCount, runtime.timerCount]).toEqual([10_000, 1]);
  await runtime.pass(5_999);
  expect(queue.depth).toBe(5_000);
  await runtime.pass(10_000);
  expect(drained(queue)).toHaveLength(10_000);
  expect([queue.laterCount, runtime.timerCount]).toEqual([0, 0]);
});

test('times are measured: waiting, working, and what is under way now', async () => {
  const { queue, runtime, seen } = aQueue();
  queue.add('a', 'change');
  await runtime.pass(30);
  queue.take();
  await runtime.pass(200);
  expect(queue.activeMs()).toEqual([200]);
  queue.done('a');
  expect([seen.waitedMs, seen.workedMs]).toEqual([[30], [200]]);
});

test('closed: nothing more is handed out, what is under way may end', async () => {
  const { queue, runtime } = aQueue({ workersMax: 2 });
  for (const key of ['a', 'b', 'c']) queue.add(key, 'change');
  queue.addAfter('d', 100, 'change');
  queue.take();
  queue.close();
  queue.add('e', 'deletion');
  queue.failed('a');
  await runtime.pass(100_000);
  expect([queue.take(), queue.depth, queue.laterCount, runtime.timerCount]).toEqual([undefined, 0, 0, 0]);
});

test('[W1] [W2] [W3] in any order of events nothing is lost or handed out twice', async () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd');
  const step = fc.oneof(
    fc.record({
      do: fc.constant('add' as const),
      key,
      lane: fc.constantFrom<Lane>('deletion', 'change', 'resync'),
    }),
    fc.record({ do: fc.constant('later' as const), key, ms: fc.integer({ min: 1, max: 500 }) }),
    fc.record({ do: fc.constant('take' as const) }),
    fc.record({ do: fc.constant('end' as const), key, well: fc.boolean() }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 300 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { queue, runtime } = aQueue({ workersMax: 2 });
      const active = new Set<string>();
      // Keys that somebody asked for since they were last taken.
      const owed = new Set<string>();
      for (const each of steps) {
        if (each.do === 'add') {
          queue.add(each.key, each.lane);
          owed.add(each.key);
        } else if (each.do === 'later') {
          queue.addAfter(each.key, each.ms, 'change');
          owed.add(each.key);
        } else if (each.do === 'pass') await runtime.pass(each.ms);
        else if (each.do === 'end' && active.delete(each.key)) {
          if (each.well) queue.done(each.key);
          else {
            queue.failed(each.key);
            owed.add(each.key);
          }
        } else if (each.do === 'take') {
          const work = queue.take();
          if (work === undefined) continue;
          expect(active.has(work.key)).toBe(false);
          active.add(work.key);
          expect(active.size).toBeLessThanOrEqual(2);
          owed.delete(work.key);
        }
      }
      for (const each of active) queue.done(each);
      await runtime.pass(100_000);
      const rest = drained(queue);
      expect(new Set(rest).size).toBe(rest.length);
      for (const each of owed) expect(rest).toContain(each);
    }),
    { numRuns: 300 },
  );
});
