// What of scaling reaches the status of an object, and when.
import { expect, test } from 'vitest';
import { verdictStatus } from '../../../operator/controllers/declared/status.ts';
import {
  type ScalingReport,
  ScalingReports,
  type ScalingShown,
  type ScalingVerdict,
  SHOWN_MS,
  worstOf,
} from '../../../operator/controllers/scaling/report.ts';
import { anObject, aWorld, FACTS, NOW } from '../declared-builders.ts';

const SCALED: ScalingVerdict = { status: 'True', reason: 'Scaled', message: 'KEDA scales it' };
const report = (shown: Partial<ScalingShown> = {}, verdict = SCALED, generation = 2): ScalingReport => ({
  ...{ generation, verdict },
  shown: [{ by: 'KEDA', wanted: 3, reason: 'KeepUp', why: 'so', ...shown }],
});

test('R1 says nothing of another generation, nor of another object of that name', () => {
  const reports = new ScalingReports(() => 0);
  reports.tell(anObject(), report());
  expect(reports.of(anObject())).toEqual(report());
  expect(reports.of(anObject({ generation: 3 }))).toBeUndefined();
  expect(reports.of(anObject({ uid: 'u2' }))).toBeUndefined();
  reports.forget('shop/emails');
  expect(reports.of(anObject())).toBeUndefined();
});

test('R2 figures are told every half minute at most, another state at once, why with a number', () => {
  let nowMs = 0;
  const told: string[] = [];
  const reports = new ScalingReports(() => nowMs);
  const stop = reports.source().start((key) => void told.push(key));
  const tell = (each: ScalingReport) => reports.tell(anObject(), each);
  expect(tell(report())).toBe(true);
  expect(tell(report({ why: 'otherwise' }))).toBe(false);
  expect(tell(report({ wanted: 4 }))).toBe(false);
  expect(tell(report({ wanted: 4 }, { ...SCALED, status: 'False', reason: 'KedaNotReady' }))).toBe(true);
  nowMs = SHOWN_MS;
  expect(
    tell(report({ wanted: 5, why: 'more' }, { ...SCALED, status: 'False', reason: 'KedaNotReady' })),
  ).toBe(true);
  expect(told).toEqual(['shop/emails', 'shop/emails', 'shop/emails']);
  stop();
  nowMs += SHOWN_MS;
  tell(report());
  expect(told).toHaveLength(3);
});

test('the worst of the groups speaks for the stream, and names those that say the same', () => {
  const of = (group: string, status: ScalingVerdict['status'], reason: ScalingVerdict['reason']) => ({
    ...{ group, status, reason, message: `${reason} it is` },
  });
  expect(
    worstOf([of('a', 'True', 'Scaled'), of('b', 'False', 'NoScaler'), of('c', 'False', 'NoScaler')]),
  ).toEqual({
    ...{ status: 'False', reason: 'NoScaler' },
    message: 'group b: NoScaler it is; group c: NoScaler it is',
  });
  expect(worstOf([of('a', 'True', 'Scaled'), of('b', 'Unknown', 'Pending')]).reason).toBe('Pending');
});

const statusOf = (scaling: (typeof FACTS)['scaling'], before?: object) => {
  const object = anObject({}, before === undefined ? {} : { status: before });
  const facts = { ...FACTS, scaling };
  const status = verdictStatus(object, aWorld({ facts }), { kind: 'synced', declaration: undefined }, NOW);
  const condition = status.conditions?.find(({ type }) => type === 'ScalingReady');
  return {
    status,
    said: condition && `${condition.status}/${condition.reason}/${condition.observedGeneration}`,
  };
};

test('the status says what is told, of which generation, and keeps it until something else is', () => {
  expect(statusOf({ isAsked: false, report: undefined }).said).toBe('False/NotConfigured/2');
  expect(statusOf(undefined).said).toBeUndefined();
  const first = statusOf({ isAsked: true, report: undefined }, statusOf(FACTS.scaling).status);
  expect(first.said).toBe('Unknown/Pending/2');
  const told = statusOf({ isAsked: true, report: report() }, first.status);
  expect(told.said).toBe('True/Scaled/2');
  expect(told.status.scaling).toEqual({ by: 'KEDA', wanted: 3, reason: 'KeepUp', why: 'so' });
  const older = {
    ...told.status,
    conditions: told.status.conditions?.map((each) => ({ ...each, observedGeneration: 1 })),
  };
  const kept = statusOf({ isAsked: true, report: undefined }, older);
  expect(kept.said).toBe('True/Scaled/1');
  expect(kept.status.scaling).toEqual(told.status.scaling);
  expect(statusOf(FACTS.scaling, told.status).status).not.toHaveProperty('scaling');
});

test('of nobody who scales and nothing that is wanted, no empty map is left', () => {
  const { status } = statusOf({ isAsked: true, report: { generation: 2, verdict: SCALED, shown: [{}] } });
  expect(status).not.toHaveProperty('scaling');
});

test('of a stream, by group', () => {
  const shown = [{ group: 'a', by: 'KEDA' }, { group: 'b' }];
  const { status } = statusOf({ isAsked: true, report: { generation: 2, verdict: SCALED, shown } });
  expect(status.scaling).toEqual(shown);
});
