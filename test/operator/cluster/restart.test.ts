// When a pod may start again, and what is said of pods.
import { expect, test } from 'vitest';
import type { Claim, Pod, StatefulSet } from '../../../operator/controllers/cluster/kinds.ts';
import { podState } from '../../../operator/controllers/cluster/pods.ts';
import { isRollingOut, planRestart } from '../../../operator/controllers/cluster/restart.ts';
import { RolloutSlots } from '../../../operator/controllers/cluster/slots.ts';
import { DEFAULTS } from '../render-cases.ts';
import { aClaim, aPod, aSet, NOW } from './support.ts';

const restartOf = (
  pods: readonly Pod[],
  o: { set?: StatefulSet; replicas?: number; claims?: Claim[] } = {},
) => {
  const { set = aSet(), replicas = pods.length, claims = [] } = o;
  const plan = planRestart({ statefulSet: set, pods, claims, replicas, nowMs: NOW });
  if (plan.kind === 'none') return 'none';
  const { restart } = plan;
  const name = restart.pod.metadata.name.at(-1);
  return plan.kind === 'wait' ? `${name} waits until ${plan.until}` : `${name} ${restart.reason}`;
};
const old = { revision: 'old' };
const grown = (since: string) => [
  aClaim('50Gi', '20Gi', [{ type: 'FileSystemResizePending', status: 'True', lastTransitionTime: since }]),
];

test.for([
  ['all are new', restartOf([aPod(0), aPod(1)]), 'none'],
  ['one pod: a drain', restartOf([aPod(0, old)]), '0 PodTemplateChanged'],
  ['another image', restartOf([aPod(0, { ...old, image: 'flowmesh:0' })]), '0 ImageChanged'],
  ['the last ordinal first', restartOf([aPod(0, old), aPod(1, old), aPod(2, old)]), '2 PodTemplateChanged'],
  [
    'a broken one first',
    restartOf([aPod(0, { ...old, ready: false }), aPod(1, old)]),
    '0 PodTemplateChanged',
  ],
  [
    'a new one is not ready yet',
    restartOf([aPod(0, old), aPod(1, { ready: false })]),
    '0 waits until pod main-flowmesh-1 is ready',
  ],
  [
    'one is leaving',
    restartOf([aPod(0, old), aPod(1, { ...old, leaving: true })]),
    '0 waits until pod main-flowmesh-1 has ended',
  ],
  ['one is missing', restartOf([aPod(0, old)], { replicas: 2 }), '0 waits until all pods are there'],
  [
    'a broken new one that changed again',
    restartOf([aPod(0, { ...old, ready: false })]),
    '0 PodTemplateChanged',
  ],
  [
    'the StatefulSet is not settled',
    restartOf([aPod(0, old)], { set: aSet('20Gi', { settled: false }) }),
    'none',
  ],
  ['it is going', restartOf([aPod(0, old)], { set: aSet('20Gi', { leaving: true }) }), 'none'],
  ['a volume that may grow in use', restartOf([aPod(0)], { claims: grown('2026-05-31T23:58:00Z') }), 'none'],
  ['a volume that did not', restartOf([aPod(0)], { claims: grown('2026-05-31T23:50:00Z') }), '0 VolumeGrew'],
] as const)('restart: %s', ([, actual, expected]) => {
  expect(actual).toBe(expected);
});

test('at most two clusters restart pods at once; one that hangs does not hold the others', () => {
  let nowMs = 0;
  const slots = new RolloutSlots({ monotonicMs: () => nowMs, rollingOut: () => [] });
  expect(['a', 'b', 'c', 'a'].map((key) => slots.claim(key))).toEqual([true, true, false, true]);
  slots.release('b');
  expect(slots.claim('c')).toBe(true);
  nowMs += 10 * 60_000;
  expect(slots.claim('d')).toBe(true);
});

test('[L3] a new leader counts those that another one has begun, and goes on with them', () => {
  let nowMs = 0;
  let rolling = ['a', 'b'];
  const slots = new RolloutSlots({ monotonicMs: () => nowMs, rollingOut: () => rolling });
  expect(['c', 'b', 'c'].map((key) => slots.claim(key))).toEqual([false, true, false]);
  // Both hang: that is no reason for c to wait any longer, nor for d to go along.
  nowMs += 10 * 60_000;
  expect(['c', 'd', 'e'].map((key) => slots.claim(key))).toEqual([true, true, false]);
  rolling = [];
  slots.release('c');
  expect(slots.claim('e')).toBe(true);
});

const changed = (set = aSet()): StatefulSet => ({
  ...set,
  status: { ...set.status, replicas: 1, currentRevision: 'old' },
});
const rolls = (pods: readonly Pod[], o: { set?: StatefulSet; replicas?: number; claims?: Claim[] } = {}) => {
  const { set = changed(), replicas = pods.length, claims = [] } = o;
  return isRollingOut({ statefulSet: set, pods, claims, replicas });
};
const first = { ...aSet(), status: { ...aSet().status, replicas: 1, currentRevision: 'new' } };

test.for([
  ['nothing has begun', rolls([aPod(0, old), aPod(1, old)]), false],
  ['broken before it begins', rolls([aPod(0, { ...old, ready: false })]), false],
  ['one is leaving', rolls([aPod(0, { ...old, leaving: true })]), true],
  ['one is away', rolls([], { replicas: 1 }), true],
  ['the new one does not serve yet', rolls([aPod(0, { ready: false })]), true],
  ['between two pods', rolls([aPod(0, old), aPod(1)]), true],
  ['all are through', rolls([aPod(0), aPod(1)]), false],
  ['the first start', rolls([aPod(0, { ready: false })], { set: first, replicas: 2 }), false],
  ['a start for the file system', rolls([], { set: first, replicas: 1, claims: grown('') }), true],
  ['scaled to nothing', rolls([aPod(0, { leaving: true })], { replicas: 0 }), false],
] as const)('in the middle of a rollout: %s', ([, actual, expected]) => {
  expect(actual).toBe(expected);
});

test('the same trouble of a pod is the same words, whatever it counts', () => {
  const waiting = (reason: string, message: string): Pod => {
    const pod = aPod(0, { ready: false });
    const status = { name: 'flowmesh', ready: false, image: '', imageID: '', restartCount: message.length };
    const state = { waiting: { reason, message } };
    return { ...pod, status: { ...pod.status, containerStatuses: [{ ...status, state }] } };
  };
  expect(podState(waiting('CrashLoopBackOff', 'back-off 10s'))).toEqual(
    podState(waiting('CrashLoopBackOff', 'back-off 2m40s')),
  );
  expect(podState(waiting('ErrImagePull', 'x'))).toEqual(podState(waiting('ImagePullBackOff', 'y')));
  expect(podState(waiting('ErrImagePull', 'x')).message).toContain(DEFAULTS.image);
});
