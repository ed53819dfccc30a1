// What is decided about a queue or stream, as tables; and the status that follows.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { describe, expect, test } from 'vitest';
import { decide, FINALIZER, PAUSED, type World } from '../../operator/controllers/declared/decide.ts';
import type { Declaration, DeclaredObject } from '../../operator/controllers/declared/kinds.ts';
import { admits, type ClusterObject, rivalOf } from '../../operator/controllers/declared/reference.ts';
import { verdictStatus } from '../../operator/controllers/declared/status.ts';
import { STREAM } from '../../operator/controllers/stream/kind.ts';
import {
  aCluster,
  anObject,
  aSynced,
  at,
  aWorld,
  DECLARATION,
  FACTS,
  NOW,
  planOf,
} from './declared-builders.ts';

describe('a queue or stream that is there', () => {
  test('is declared, with its finalizer on before', () => {
    const { plan, does } = planOf(anObject(), aWorld());
    expect([plan.finalizer, does]).toEqual(['on', ['declare']]);
  });

  const ACCEPTED = 'Accepted=True/Accepted';
  const obstacles: [string, Partial<World>, string[]][] = [
    ['an unknown cluster', { view: { kind: 'unknown' } }, refused('ClusterNotFound')],
    ['a denied reference', { view: { kind: 'denied' } }, refused('RefNotPermitted')],
    ['a spec that is not valid', { problems: ['spec.x is wrong; right it'] }, refused('Invalid')],
    ['an older one of its name', { rival: 'Queue a/b' }, refused('NameTaken')],
    [
      'a denied one with a rival',
      { view: { kind: 'denied' }, rival: 'Queue a/b' },
      refused('RefNotPermitted'),
    ],
    [
      'a cluster that goes',
      { view: { kind: 'terminating' } },
      [ACCEPTED, ...both('False', 'ClusterTerminating')],
    ],
    [
      'a cluster of 0 replicas',
      { view: { kind: 'stopped' } },
      [ACCEPTED, 'Synced=Unknown/ClusterStopped', 'Ready=False/ClusterStopped'],
    ],
    ['an unreachable data plane', { plane: 'down' }, [ACCEPTED, ...both('Unknown', 'Unreachable')]],
  ];
  test.each(obstacles)('%s: nothing is asked, and the status and one event say why', (_, world, shown) => {
    const first = planOf(anObject(), aWorld(world));
    expect([first.does, first.shown, first.plan.requeueAfterMs]).toEqual([[], shown, undefined]);
    expect(first.plan.finalizer).toBeUndefined();
    expect(first.plan.events).toHaveLength(1);
    const status = first.plan.status as DeclaredObject['status'];
    const again = planOf(anObject({}, status && { status }), aWorld(world));
    expect(again.plan.events).toBeUndefined();
    expect(again.plan.status).toEqual(status);
  });

  test('is left alone while it is paused', () => {
    const paused = anObject({ annotations: { [PAUSED]: 'true' } });
    expect(planOf(paused, aWorld()).does).toEqual([]);
  });

  test('flips nothing while its data plane is only being connected to', () => {
    expect(decide(aSynced(), aWorld({ plane: 'connecting' }), NOW)).toEqual({});
  });

  test('keeps what was known of it while its data plane cannot be reached', () => {
    const before = aSynced({ figures: { waiting: 7 }, isOurs: true });
    const { plan } = planOf(before, aWorld({ plane: 'down' }));
    expect(plan.status).toMatchObject({ figures: { waiting: 7 }, effective: { fair: false } });
  });

  test('is not declared again while nothing says that it is otherwise, and writes the same status', () => {
    const figures = { waiting: 12 };
    const before = aSynced({ figures, isOurs: true });
    const facts = { ...FACTS, figures, isOurs: true };
    const { plan, does } = planOf(before, aWorld({ isAsDeclared: true, facts }));
    expect([does, plan.status]).toEqual([[], before.status]);
  });

  test('is declared again when its generation is another one', () => {
    const changed = { ...aSynced(), metadata: { ...anObject().metadata, generation: 3 } };
    expect(planOf(changed, aWorld({ isAsDeclared: true })).does).toEqual(['declare']);
  });

  test('says a failure in words that stay the same', () => {
    const failed = (message: string) => {
      const plan = decide(anObject(), aWorld(), NOW);
      if (typeof plan.status !== 'function') throw new Error('no status');
      const error = new FlowError('DEADLINE_EXCEEDED', message);
      return plan.status([{ action: { kind: 'declare' }, kind: 'failed', error }]);
    };
    expect(failed('after 1.001 s')).toEqual(failed('after 1.002 s'));
  });
});

function refused(reason: string): string[] {
  return [`Accepted=False/${reason}`, `Synced=False/${reason}`, `Ready=False/${reason}`];
}
function both(status: string, reason: string): string[] {
  return [`Synced=${status}/${reason}`, `Ready=${status}/${reason}`];
}

describe('a queue or stream that is being deleted', () => {
  const deleted = (agoMs: number, deletionPolicy?: 'Delete') =>
    anObject(
      { deletionTimestamp: at(-agoMs), finalizers: [FINALIZER] },
      deletionPolicy && { spec: { deletionPolicy } },
    );

  test.each([
    ['unknown', 'is gone'],
    ['denied', 'does not admit'],
    ['terminating', 'being deleted'],
    ['stopped', '0 replicas'],
  ] as const)('goes at once where the cluster is %s, and says so', (kind, said) => {
    const { plan, does } = planOf(deleted(0), aWorld({ view: { kind }, plane: 'connecting' }));
    expect([plan.finalizer, does]).toEqual(['off', []]);
    expect(plan.events?.[0]).toMatchObject({
      reason: 'DataPlaneNotAsked',
      note: expect.stringContaining(said),
    });
  });

  test.each(['connecting', 'down'] as const)(
    'waits for a data plane that is %s, but not for ever',
    (plane) => {
      const waits = planOf(deleted(20_000), aWorld({ plane })).plan;
      expect([waits.finalizer, waits.requeueAfterMs]).toEqual([undefined, 40_000]);
      expect(planOf(deleted(60_000), aWorld({ plane })).plan.finalizer).toBe('off');
    },
  );

  test('does not wait for ever for one that refuses either', () => {
    expect(planOf(deleted(299_000), aWorld()).does).toEqual(['remove']);
    expect(planOf(deleted(300_000), aWorld())).toMatchObject({ does: [], plan: { finalizer: 'off' } });
  });

  test.each([
    [undefined, 'Retain'],
    ['Delete', 'Delete'],
  ] as const)('with policy %s', (policy, done) => {
    const { plan } = planOf(deleted(0, policy), aWorld());
    expect(plan).toMatchObject({ finalizer: 'off', actions: [{ kind: 'remove', policy: done }] });
  });

  test('and was never declared needs nothing', () => {
    expect(decide(anObject({ deletionTimestamp: at(0) }), aWorld(), NOW)).toEqual({});
  });
});

describe('drift', () => {
  const changes = [{ field: 'maxAttempts', before: '3', after: '5' }];
  const statusAfter = (object: DeclaredObject, declaration: Declaration | undefined, nowMs: number) =>
    verdictStatus(object, aWorld(), { kind: 'synced', declaration }, nowMs);
  const driftOf = (status: DeclaredObject['status']) =>
    status?.conditions?.find(({ type }) => type === 'Drifted');

  test('is shown for half a minute after it was set back, with what was changed', () => {
    const object = aSynced();
    const drifted = {
      ...object,
      status: statusAfter(object, { ...DECLARATION, drifted: true, changes }, NOW),
    };
    expect(driftOf(drifted.status)).toMatchObject({
      status: 'True',
      message: expect.stringContaining('3 -> 5'),
    });
    expect(driftOf(statusAfter(drifted, undefined, NOW + 20_000))).toEqual(driftOf(drifted.status));
    expect(driftOf(statusAfter(drifted, undefined, NOW + 40_000))).toMatchObject({ status: 'False' });
  });
});

describe('the oldest waiting job', () => {
  const shown = (oldestReadyAtMs: number, before?: string) => {
    const object = anObject({}, before === undefined ? {} : { status: { oldestReadyAt: before } });
    const facts = { ...FACTS, figures: {}, isOurs: true, oldestReadyAtMs };
    return verdictStatus(object, aWorld({ facts }), { kind: 'synced', declaration: undefined }, NOW)
      .oldestReadyAt;
  };
  test('is a date, that moves only with its age', () => {
    expect(shown(0)).toBeUndefined();
    expect(shown(NOW - 29_000)).toBeUndefined();
    expect(shown(NOW - 600_000)).toBe('2026-11-26T11:50:00Z');
    expect(shown(NOW - 590_000, '2026-11-26T11:50:00Z')).toBe('2026-11-26T11:50:00Z');
    expect(shown(NOW - 300_000, '2026-11-26T11:50:00Z')).toBe('2026-11-26T11:55:00Z');
  });

  test('brings the object back when it is old enough to be shown: no list of figures tells of that', () => {
    const afterMs = (oldestReadyAtMs: number, isAsDeclared: boolean) => {
      const facts = { ...FACTS, figures: {}, isOurs: true, oldestReadyAtMs };
      return planOf(aSynced(), aWorld({ isAsDeclared, facts })).plan.requeueAfterMs;
    };
    const all = (isAsDeclared: boolean) =>
      [0, NOW - 10_000, NOW - 30_000].map((sinceMs) => afterMs(sinceMs, isAsDeclared));
    expect(all(true)).toEqual([undefined, 20_000, undefined]);
    // An operator that has just begun declares everything once more.
    expect(all(false)).toEqual(all(true));
  });
});

describe('a stream', () => {
  const group = (name: string, lag: number, oldestUncommittedAtMs: number): pb.GroupSummary => ({
    ...{ group: name, lag, members: 1, oldestUncommittedAtMs, workersWanted: null },
    ...{ busyWorkers: 0, arrivalsPerSecond: 0, completionsPerSecond: 0, processingMs: 0 },
    ...{ processingP50Ms: 0, processingP95Ms: 0, processingP99Ms: 0, throughputPerWorker: 0 },
  });
  const summary = (...groups: pb.GroupSummary[]) => ({ records: 9, bytes: 90, groups }) as never;

  test('lags as its last group does, and shows since when each of them has something to read', () => {
    const seen = summary(group('a', 3, NOW - 20_000), group('b', 70, NOW - 600_000), group('c', 0, 0));
    expect(STREAM.figures(seen, undefined, NOW)).toEqual({
      ...{ records: 9, bytes: 90, lag: 70, members: 3 },
      groups: [
        { name: 'a', lag: 3, members: 1 },
        { name: 'b', lag: 70, members: 1, oldestReadyAt: '2026-11-26T11:50:00Z' },
        { name: 'c', lag: 0, members: 1 },
      ],
    });
    expect(STREAM.oldestReadyAtMs(seen)).toBe(NOW - 600_000);
    expect(STREAM.oldestReadyAtMs(summary(group('c', 0, 0)))).toBe(0);
  });

  test('wants what its groups want, as far as they are scaled', () => {
    const wants = (name: string, workersWanted: number | null) => ({ ...group(name, 0, 0), workersWanted });
    const figures = STREAM.figures(summary(wants('a', 3), wants('b', 2), wants('c', null)), undefined, NOW);
    expect(figures).toMatchObject({
      membersWanted: 5,
      groups: [{ membersWanted: 3 }, { membersWanted: 2 }, {}],
    });
    expect(STREAM.figures(summary(wants('c', null)), undefined, NOW)).not.toHaveProperty('membersWanted');
  });

  test('a group that works off its lag moves its date seldom', () => {
    const before = STREAM.figures(summary(group('b', 70, NOW - 600_000)), undefined, NOW);
    const dateAfter = (oldestMs: number) => {
      const { groups } = STREAM.figures(summary(group('b', 70, oldestMs)), before, NOW) as {
        groups: { oldestReadyAt?: string }[];
      };
      return groups[0]?.oldestReadyAt;
    };
    expect(dateAfter(NOW - 560_000)).toBe('2026-11-26T11:50:00Z');
    expect(dateAfter(NOW - 300_000)).toBe('2026-11-26T11:55:00Z');
  });
});

describe('a reference', () => {
  const labels = { 'kubernetes.io/metadata.name': 'shop', team: 'a' };
  const term = (key: string, operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist', values?: string[]) => ({
    selector: { matchExpressions: [{ key, operator, ...(values && { values }) }] },
  });
  test.each([
    ['no word about it', {}, false],
    ['Same', { from: 'Same' }, false],
    ['All', { from: 'All' }, true],
    ['a label', { from: 'Selector', selector: { matchLabels: { team: 'a' } } }, true],
    ['another label', { from: 'Selector', selector: { matchLabels: { team: 'b' } } }, false],
    ['In', { from: 'Selector', ...term('team', 'In', ['a', 'b']) }, true],
    ['NotIn', { from: 'Selector', ...term('team', 'NotIn', ['a']) }, false],
    ['NotIn of what is not there', { from: 'Selector', ...term('tier', 'NotIn', ['a']) }, true],
    ['Exists', { from: 'Selector', ...term('team', 'Exists') }, true],
    ['DoesNotExist', { from: 'Selector', ...term('team', 'DoesNotExist') }, false],
  ] as const)('from another namespace: %s', (_, allowedNamespaces, admitted) => {
    expect(admits(aCluster({ allowedNamespaces } as ClusterObject['spec']), 'shop', labels)).toBe(admitted);
    expect(admits(aCluster(), 'infra', {})).toBe(true);
  });

  test('of two, the older has the name; in one second, who has it already; both see it alike', () => {
    const a = anObject({ name: 'a', uid: 'a', creationTimestamp: at(-2000) });
    const b = anObject({ name: 'b', uid: 'b', creationTimestamp: at(-1000) });
    expect([rivalOf(a, [b]), rivalOf(b, [a])]).toEqual([undefined, a]);
    const twin = anObject({ name: 'c', uid: '0', creationTimestamp: b.metadata.creationTimestamp ?? '' });
    expect([rivalOf(b, [twin]), rivalOf(twin, [b])]).toEqual([twin, undefined]);
    const has = { ...b, status: aSynced().status ?? {} };
    expect([rivalOf(has, [twin]), rivalOf(twin, [has])]).toEqual([undefined, has]);
  });
});
