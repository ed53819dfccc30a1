// The board: when it knows, when it does not, and who is told.
import { beforeEach, expect, test } from 'vitest';
import type { ScalingTarget } from '../../dataplane/scaling/board.ts';
import { LiveBoard } from '../../dataplane/scaling/live-board.ts';
import type { Signals } from '../../dataplane/scaling/signals.ts';
import type { ScaledTarget, ScalingSource } from '../../dataplane/scaling/source.ts';
import type { ScalingSpec } from '../../dataplane/scaling/spec.ts';

const Q = { tenant: 1, queue: 'q' };
const SPEC: ScalingSpec = { scaleFrom: 2, scaleTo: 20, basedOn: ['queue_lag > 100'] };
const seen = (lag: number) => ({ atMs: 5, lag }) as Signals;

class FakeQueues implements ScalingSource<{ tenant: number; queue: string }> {
  readonly kind = 'Queue';
  readonly specs = new Map<string, ScalingSpec | null>();
  measured: () => Promise<Signals | null> = async () => seen(1);
  looks = 0;

  specOf({ queue }: { queue: string }) {
    return this.specs.get(queue) ?? null;
  }
  look() {
    this.looks++;
  }
  *scaled(): Generator<ScaledTarget> {
    for (const [queue, spec] of this.specs)
      if (spec !== null) yield { target: { tenant: 1, queue }, spec, measure: () => this.measured() };
  }
  workers() {
    return [];
  }
}

const noGroups: ScalingSource<Exclude<ScalingTarget, { queue: string }>> = {
  ...{ kind: 'Stream', specOf: () => null, look() {}, scaled: () => [], workers: () => [] },
};

let queues: FakeQueues;
let isServing = true;
let nowMs = 0;
let failures: unknown[];
let board: LiveBoard<number>;
const turn = async () => {
  nowMs += 1000;
  board.look();
  await new Promise((resolve) => setImmediate(resolve));
};
beforeEach(() => {
  queues = new FakeQueues();
  queues.specs.set('q', SPEC);
  isServing = true;
  failures = [];
  board = new LiveBoard({
    queues,
    groups: noGroups,
    isServing: () => isServing,
    runtime: { monotonicMs: () => nowMs },
    log: (_, fields) => void failures.push(fields),
    fresh: 0,
    decide: ({ lag }, policy, memory) => ({
      advice: { wanted: policy.from + lag, active: lag > 0, reason: 'Lag', why: `${memory}` },
      memory: memory + 1,
    }),
  });
});

/** As when the process starts: what is declared was declared before. */
const restarted = () =>
  new LiveBoard({
    ...{ queues, groups: noGroups, isServing: () => isServing, log: () => {}, fresh: 0 },
    runtime: { monotonicMs: () => nowMs },
    decide: (_, __, memory: number) => ({
      advice: { wanted: 7, active: true, reason: 'Lag', why: `${memory}` },
      memory: memory + 1,
    }),
  });

test('[AD53] [L4] after a start, what was there is unknown until its workers may be back', async () => {
  isServing = false;
  board = restarted();
  board.recovered();
  const told: unknown[] = [];
  board.follow(Q, (reading) => told.push(typeof reading));
  await turn();
  isServing = true;
  await turn();
  queues.specs.set('new', SPEC);
  for (let i = 0; i < 27; i++) {
    await turn();
    expect(board.read(Q)).toBe('unknown');
    // Nobody has taken away the workers of what has just been declared.
    expect(board.read({ tenant: 1, queue: 'new' })).toMatchObject({ advice: { wanted: 7 } });
  }
  expect(told).not.toContain('object');
  // A change of the declaration does not make it known earlier.
  queues.specs.set('q', { ...SPEC, scaleFrom: 5 });
  await turn();
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 7, why: '28' } });
  expect(told.filter((each) => each === 'object')).toHaveLength(1);
});

test('[AD53] [B1] is unknown until measured, then what was decided last, with its memory', async () => {
  expect(board.read(Q)).toBe('unknown');
  await turn();
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 3, why: '0' }, lagTarget: 50 });
  queues.measured = async () => seen(4);
  await turn();
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 6, why: '1' }, signals: { lag: 4 } });
});

test('says that there is nothing to say of what asks for no scaling, or is not there', () => {
  queues.specs.set('plain', null);
  expect(board.read({ tenant: 1, queue: 'plain' })).toBe('not-found');
  expect(board.read({ tenant: 1, stream: 's', group: 'g' })).toBe('not-found');
});

test('[AD53] is unknown while the fabric starts, drains or has failed, and while figures are', async () => {
  await turn();
  isServing = false;
  expect(board.read(Q)).toBe('unknown');
  await turn();
  isServing = true;
  expect(board.read(Q)).toBe('unknown');
  queues.measured = async () => null;
  await turn();
  expect(board.read(Q)).toBe('unknown');
});

test('[AD53] [L1] what was not measured for ten seconds is not believed', async () => {
  await turn();
  queues.measured = async () => null;
  for (let i = 0; i < 10; i++) await turn();
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 3 } });
  await turn();
  expect(board.read(Q)).toBe('unknown');
});

test('[AD53] [L2] a target whose disk is slow keeps no other back, and is asked once at a time', async () => {
  queues.specs.set('slow', SPEC);
  const waiting: (() => void)[] = [];
  const quick = queues.measured;
  let turns = 0;
  queues.measured = () =>
    turns++ % 2 === 0 ? quick() : new Promise((resolve) => waiting.push(() => resolve(seen(9))));
  await turn();
  queues.measured = quick;
  await turn();
  expect(waiting).toHaveLength(1);
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 3 } });
  expect(board.read({ tenant: 1, queue: 'slow' })).toBe('unknown');
  waiting[0]?.();
  await turn();
  expect(board.read({ tenant: 1, queue: 'slow' })).toMatchObject({ advice: { active: true } });
});

test('[L3] memory stays over a declaration that changes other things, and goes with the last', async () => {
  await turn();
  queues.specs.set('q', { ...SPEC, scaleFrom: 5 });
  await turn();
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 6, why: '1' }, lagTarget: 20 });
  queues.specs.set('q', null);
  await turn();
  queues.specs.set('q', SPEC);
  expect(board.read(Q)).toBe('unknown');
  await turn();
  expect(board.read(Q)).toMatchObject({ advice: { why: '0' } });
});

test('conditions that this version cannot read give no advice, rather than one without them', async () => {
  queues.specs.set('q', { ...SPEC, basedOn: ['moon_phase > 3'] });
  await turn();
  expect(board.read(Q)).toBe('unknown');
});

test('who follows a target is told each reading, and when there is none any more', async () => {
  const told: unknown[] = [];
  const unfollow = board.follow(Q, (reading) => {
    told.push(typeof reading === 'string' ? reading : reading.advice.wanted);
  });
  await turn();
  isServing = false;
  await turn();
  isServing = true;
  queues.specs.set('q', null);
  await turn();
  expect(told).toEqual([3, 'unknown', 'not-found']);
  unfollow();
  queues.specs.set('q', SPEC);
  await turn();
  expect(told).toHaveLength(3);
});

test('a mistake of ours in one target is told, and costs no other its reading', async () => {
  queues.specs.set('other', SPEC);
  let first = true;
  queues.measured = async () => {
    if (!first) return seen(1);
    first = false;
    throw new Error('boom');
  };
  await turn();
  expect(board.read(Q)).toBe('unknown');
  expect(board.read({ tenant: 1, queue: 'other' })).toMatchObject({ advice: { wanted: 3 } });
  expect(failures).toEqual([{ target: '1 q', error: 'Error: boom' }]);
  await turn();
  expect(board.read(Q)).toMatchObject({ advice: { wanted: 3 } });
});
