// The event recorder against the fake API server: series, rates, and that it never stands in anybody's way.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type EventObject, EventRecorder } from '../../../operator/kube/events.ts';
import { FakeApi } from './fake-api.ts';
import { clientOf, TestRuntime, testLog, until, WIDGETS } from './support.ts';

let api: FakeApi;
let close: () => void = () => {};

beforeEach(async () => {
  api = await FakeApi.start();
});
afterEach(async () => {
  close();
  await api.close();
});

function aRecorder() {
  const runtime = new TestRuntime();
  const { client, transport } = clientOf(api.url);
  close = () => transport.close();
  const outcomes: string[] = [];
  const recorder = new EventRecorder({
    client,
    runtime,
    log: testLog(),
    controller: 'flowmesh.io/test',
    instance: 'pod-1',
    mayWrite: () => true,
    onOutcome: (outcome) => outcomes.push(outcome),
  });
  return { recorder, runtime, outcomes };
}

const about = (name: string) => ({ metadata: { name, namespace: 'a', uid: `uid-${name}` } });
const draft = {
  type: 'Warning',
  reason: 'NotReachable',
  action: 'Reconcile',
  note: 'look at the pods',
} as const;
const events = () => api.requests.map(({ method, body }) => ({ method, body: body as EventObject }));

test('an event names what it is about, who says it, and why', async () => {
  const { recorder, outcomes } = aRecorder();
  recorder.record(WIDGETS, about('w'), draft);
  await until('it is sent', () => outcomes.length === 1);
  expect(events()[0]?.body).toMatchObject({
    metadata: { namespace: 'a' },
    reason: 'NotReachable',
    type: 'Warning',
    action: 'Reconcile',
    note: 'look at the pods',
    reportingController: 'flowmesh.io/test',
    reportingInstance: 'pod-1',
    regarding: { apiVersion: 'test.flowmesh.io/v1', kind: 'Widget', name: 'w', namespace: 'a', uid: 'uid-w' },
  });
  expect(events()[0]?.body.eventTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  expect(events()[0]?.body.metadata.name).toMatch(/^w\.[0-9a-f]+$/);
});

test('[V2] the same again is a series, written at most once a minute; later it is a new event', async () => {
  const { recorder, runtime, outcomes } = aRecorder();
  recorder.record(WIDGETS, about('w'), draft);
  await until('it is sent', () => outcomes.includes('sent'));
  for (let second = 1; second <= 130; second++) {
    runtime.jump(1_000);
    recorder.record(WIDGETS, about('w'), draft);
    await new Promise((resolve) => setImmediate(resolve));
    if (second % 60 === 0) await until('the count', () => events().length === 1 + second / 60);
    await until('it is quiet', () => outcomes.filter((each) => each === 'sent').length === events().length);
  }
  expect(events().map(({ method }) => method)).toEqual(['POST', 'PATCH', 'PATCH']);
  expect(events().map(({ body }) => body.series?.count)).toEqual([undefined, 61, 121]);
  runtime.jump(7 * 60_000);
  recorder.record(WIDGETS, about('w'), draft);
  await until('a new one', () => events().length === 4);
  expect(events()[3]?.method).toBe('POST');
});

test('[V3] a chatty object is held to its rate, another one is not', async () => {
  const { recorder, runtime, outcomes } = aRecorder();
  for (let n = 0; n < 50; n++) recorder.record(WIDGETS, about('chatty'), { ...draft, note: `${n}` });
  expect(outcomes.filter((each) => each === 'dropped')).toHaveLength(25);
  recorder.record(WIDGETS, about('quiet'), draft);
  await until('the rest', () => outcomes.filter((each) => each === 'sent').length === 26);
  runtime.jump(60_000);
  recorder.record(WIDGETS, about('chatty'), { ...draft, note: 'later' });
  await until('one more', () => outcomes.filter((each) => each === 'sent').length === 27);
});

test('[V1] a server that refuses: tried again, then given up and counted; notes are cut', async () => {
  const { recorder, runtime, outcomes } = aRecorder();
  for (let n = 0; n < 3; n++)
    api.faults.push({ match: () => true, answer: { status: 403, reason: 'Forbidden' } });
  recorder.record(WIDGETS, about('w'), { ...draft, note: 'x'.repeat(5_000) });
  for (let turn = 0; !outcomes.includes('failed') && turn < 1_000; turn++) await runtime.pass(5_000);
  expect(api.requests).toHaveLength(3);
  expect(events()[0]?.body.note).toHaveLength(1024);
  await recorder.close(100);
  recorder.record(WIDGETS, about('w2'), draft);
  expect(outcomes.at(-1)).toBe('dropped');
});
