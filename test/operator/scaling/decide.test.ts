// Who scales what, as tables: the way, what is made and taken away, and what the condition says.
import { describe, expect, test } from 'vitest';
import {
  decide,
  refusal,
  type ScalingWorld,
  type TargetWorld,
} from '../../../operator/controllers/scaling/decide.ts';
import type { Autoscaler, ScaledObject } from '../../../operator/controllers/scaling/kinds.ts';
import { AUTOSCALERS, SCALED_OBJECTS } from '../../../operator/controllers/scaling/kinds.ts';
import type { KubeObject, Resource } from '../../../operator/kube/objects.ts';
import { autoscaler } from '../../../operator/resources/scaling/autoscaler.ts';
import { scaledObject } from '../../../operator/resources/scaling/scaled-object.ts';
import { aResolved, aScalingWorld, aTarget, aTargetWorld } from './builders.ts';

const planOf = (world: Partial<ScalingWorld> = {}, target: Partial<TargetWorld> = {}) => {
  const plan = decide(aScalingWorld(world, target));
  const [first] = plan.targets;
  const { status, reason, message } = first?.verdict ?? {};
  return {
    by: first?.by,
    makes: first?.wanted?.resource.kind,
    removes: plan.remove.map(({ live }) => live.metadata.name),
    said: `${status}/${reason}`,
    message: message ?? '',
  };
};

const said = (type: string, status: string, reason = 'Some', message = 'words') => ({
  ...{ type, status, reason, message },
});

const aScaledObject = (...conditions: ReturnType<typeof said>[]) =>
  ({ ...scaledObject(aTarget(), aResolved()), status: { conditions } }) as unknown as ScaledObject;
const anAutoscaler = (...conditions: ReturnType<typeof said>[]) =>
  ({ ...autoscaler(aTarget(), 'main'), status: { conditions } }) as unknown as Autoscaler;

const owned = (resource: Resource, live: KubeObject) => ({ resource, live });
const OURS = { metricsApi: { kind: 'ours' } } as const;

describe('the way', () => {
  test.each<[string, Partial<ScalingWorld>, Partial<TargetWorld>, string | undefined, string | undefined]>([
    ['KEDA, where it is there', {}, {}, 'KEDA', 'ScaledObject'],
    ['KEDA, although metrics are served', OURS, {}, 'KEDA', 'ScaledObject'],
    ['the autoscaler, on our metrics', { hasKeda: false, ...OURS }, {}, 'HPA', 'HorizontalPodAutoscaler'],
    ['nobody, without either', { hasKeda: false }, {}, undefined, undefined],
    [
      'nobody, where somebody else has the metrics',
      { hasKeda: false, metricsApi: { kind: 'other', service: 'Service a/b' } },
      {},
      undefined,
      undefined,
    ],
    ['the operator, in mode Direct', {}, { target: aTarget({ mode: 'Direct' }) }, 'Direct', undefined],
  ])('%s', (_, world, target, by, makes) => {
    expect(planOf(world, target)).toMatchObject({ by, makes });
  });

  const both = [
    owned(SCALED_OBJECTS as Resource, aScaledObject()),
    owned(AUTOSCALERS as Resource, anAutoscaler()),
  ];
  test('what belongs to another way is taken away', () => {
    expect(decide(aScalingWorld({ owned: both })).remove).toEqual([both[1]]);
    expect(decide(aScalingWorld({ owned: both, hasKeda: false, ...OURS })).remove).toEqual([both[0]]);
    const direct = aScalingWorld({ owned: both }, { target: aTarget({ mode: 'Direct' }) });
    expect(decide(direct).remove).toEqual(both);
  });

  test('all of it, when spec asks for it no more', () => {
    const plan = decide(aScalingWorld({ owned: both, targets: [] }));
    expect(plan).toEqual({ remove: both, targets: [] });
  });

  test('nothing, while the object is paused or its cluster does not serve', () => {
    for (const world of [{ isPaused: true }, { cluster: undefined }]) {
      expect(decide(aScalingWorld({ owned: both, ...world })).remove).toEqual([]);
      expect(planOf(world)).toMatchObject({ by: undefined, makes: undefined });
    }
  });

  test('all of it, while somebody else scales the workload', () => {
    const plan = planOf({ owned: both }, { rival: 'HorizontalPodAutoscaler web' });
    expect(plan).toMatchObject({ by: undefined, said: 'False/TargetTaken' });
    expect(plan.removes).toHaveLength(2);
    expect(plan.message).toContain('HorizontalPodAutoscaler web scales Deployment email-worker already');
  });
});

describe('two groups of a stream with one workload', () => {
  const owner = { kind: 'Stream', name: 'orders', namespace: 'shop', uid: 'u2' } as const;
  const group = (name: string, more: Partial<TargetWorld['target']> = {}) =>
    aTargetWorld({ target: aTarget({ owner, subject: { stream: 'orders', group: name }, ...more }) });
  const other = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'mailer' };

  test.each(['Auto', 'Direct'] as const)('the first has it (%s): they would undo each other', (mode) => {
    const targets = [
      group('billing', { mode }),
      group('audit', { mode }),
      group('mail', { mode, workload: other }),
    ];
    const plan = decide(aScalingWorld({ targets }));
    expect(plan.targets.map(({ by }) => by !== undefined)).toEqual([true, false, true]);
    expect(plan.targets[1]?.verdict).toMatchObject({
      ...{ status: 'False', reason: 'TargetTaken' },
      message: expect.stringContaining('group billing of this stream scales Deployment email-worker already'),
    });
  });
});

describe('what is in the way', () => {
  const foreign = { metadata: { name: 'emails-flowmesh-queue', namespace: 'shop' } };
  test.each<[string, Partial<ScalingWorld>, Partial<TargetWorld>, string]>([
    ['no workload', {}, { workload: 'missing' }, 'False/TargetNotFound'],
    ['a cluster that does not serve', { cluster: undefined }, {}, 'Unknown/ClusterNotServing'],
    ['a pause', { isPaused: true }, {}, 'Unknown/Paused'],
    ['no scaler', { hasKeda: false }, {}, 'False/NoScaler'],
    [
      'metrics of somebody else',
      { hasKeda: false, metricsApi: { kind: 'other', service: 'Service a/b' } },
      {},
      'False/MetricsApiTaken',
    ],
    ['no TLS for KEDA', { cluster: aResolved({ tls: { mode: 'Disabled' } }) }, {}, 'False/TlsDisabled'],
    [
      'a kind that the operator does not scale',
      {},
      {
        target: aTarget({
          mode: 'Direct',
          workload: { apiVersion: 'argoproj.io/v1alpha1', kind: 'Rollout', name: 'web' },
        }),
      },
      'False/TargetNotSupported',
    ],
    [
      'a ScaledObject of somebody else',
      {},
      { scaledObject: foreign as unknown as ScaledObject },
      'False/NameTaken',
    ],
    [
      'an autoscaler of somebody else',
      { hasKeda: false, ...OURS },
      { autoscaler: foreign as unknown as Autoscaler },
      'False/NameTaken',
    ],
    [
      'a workload that somebody has stopped',
      {},
      { target: aTarget({ mode: 'Direct' }), scale: { metadata: { name: 'w' }, spec: { replicas: 0 } } },
      'Unknown/Paused',
    ],
    [
      'what KEDA has left behind',
      { hasKeda: false, ...OURS },
      { kedaAutoscaler: anAutoscaler() },
      'Unknown/Pending',
    ],
  ])('%s: nothing is made, and the message says what to do', (_, world, target, expected) => {
    const plan = planOf(world, target);
    expect([plan.said, plan.makes]).toEqual([expected, undefined]);
    expect(plan.message).not.toBe('');
  });
});

describe('what is said of it', () => {
  const READY = said('Ready', 'True');
  const ABLE = said('AbleToScale', 'True');
  test.each<[string, Partial<TargetWorld>, string]>([
    ['nothing yet', {}, 'Unknown/Pending'],
    ['KEDA has not looked', { scaledObject: aScaledObject(said('Ready', 'Unknown', '')) }, 'Unknown/Pending'],
    ['KEDA is ready', { scaledObject: aScaledObject(READY) }, 'True/Scaled'],
    ['KEDA is not', { scaledObject: aScaledObject(said('Ready', 'False')) }, 'False/KedaNotReady'],
    [
      'KEDA is in part',
      { scaledObject: aScaledObject(said('Ready', 'Unknown', 'PartialTriggerError')) },
      'False/KedaNotReady',
    ],
    [
      'its autoscaler gets no figures',
      {
        scaledObject: aScaledObject(READY),
        kedaAutoscaler: anAutoscaler(ABLE, said('ScalingActive', 'False', 'FailedGetExternalMetric')),
      },
      'False/KedaNotReady',
    ],
    [
      'its autoscaler rests at none',
      {
        scaledObject: aScaledObject(READY),
        kedaAutoscaler: anAutoscaler(ABLE, said('ScalingActive', 'False', 'ScalingDisabled')),
      },
      'True/Scaled',
    ],
  ])('%s', (_, target, expected) => {
    expect(planOf({}, target).said).toBe(expected);
  });

  test.each<[string, Autoscaler, string]>([
    ['has not looked', anAutoscaler(), 'Unknown/Pending'],
    ['scales', anAutoscaler(ABLE, said('ScalingActive', 'True')), 'True/Scaled'],
    ['gets no figures', anAutoscaler(ABLE, said('ScalingActive', 'False')), 'False/HpaNotActive'],
    ['may not', anAutoscaler(said('AbleToScale', 'False')), 'False/HpaNotActive'],
    [
      'is disabled, as somebody has stopped the workload',
      anAutoscaler(ABLE, said('ScalingActive', 'False', 'ScalingDisabled')),
      'Unknown/Paused',
    ],
  ])('an autoscaler that %s', (_, live, expected) => {
    expect(planOf({ hasKeda: false, ...OURS }, { autoscaler: live }).said).toBe(expected);
  });

  test('in its own words', () => {
    const scaledObjectThatFails = aScaledObject(said('Ready', 'False', 'TriggerError', 'no answer'));
    const { message } = planOf({}, { scaledObject: scaledObjectThatFails });
    expect(message).toBe('the number stays as it is. KEDA says TriggerError: no answer');
  });
});

test('what is refused for good is told, what may pass is tried again', () => {
  const cause = { field: 'spec.minReplicas', message: 'must be greater than or equal to 1' };
  const refused = (status: number, from: number, causes: readonly { field: string }[] = []) =>
    refusal({ status, message: 'no', causes }, from)?.reason;
  expect(refused(422, 0, [cause])).toBe('ScaleToZeroNotServed');
  expect(refused(422, 1, [cause])).toBe('Refused');
  expect(refused(403, 0)).toBe('Refused');
  for (const status of [0, 404, 429, 500, 503]) expect(refused(status, 0)).toBeUndefined();
});
