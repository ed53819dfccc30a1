// flowmesh scaling: how many workers are needed, and why.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { flowmesh, noonMs, received } from './support.ts';

const answer = (over: pb.GetScalingResponseInput = {}) =>
  received(pb.GetScalingResponse, {
    signals: {
      ...{
        atMs: noonMs,
        lag: 41_000,
        inFlight: 9,
        oldestReadyAtMs: noonMs - 130_000,
        workers: 5,
        busyWorkers: 4,
      },
      ...{ arrivalsPerSecond: 120, completionsPerSecond: 0.5, throughputPerWorker: 24.04, stalled: false },
      ...{ processingMs: 40, processingP50Ms: 32, processingP99Ms: 1800 },
    },
    advice: { workersWanted: 7, active: true, reason: 'Lag', why: 'lag is 41,000, above 10,000' },
    scaling: { scaleFrom: 2, scaleTo: 20, basedOn: ['queue_lag > 10_000', 'message_age > 30s'] },
    workers: [
      { name: 'email-7\u001b[2J', busy: true, leased: 9, build: 'v2' },
      { name: 'email-8', busy: false, leased: 0, build: '' },
    ],
    ...over,
  });

test('of a queue it tells what is wanted, the sentence, the figures and who works', async () => {
  const { out, calls } = await flowmesh('scaling emails.send', { getScaling: () => answer() });
  expect(calls[0]?.[1]).toMatchObject({ queue: 'emails.send' });
  expect(out).toBe(
    'scaling      emails.send, from 2 to 20\n' +
      'based on     queue_lag > 10_000, message_age > 30s\n' +
      'wanted       7 workers: Lag\n' +
      'why          lag is 41,000, above 10,000\n' +
      'lag          41,000, the oldest 2m 10s ago\n' +
      'in flight    9\n' +
      'workers      5, 4 busy\n' +
      'arrivals     120/s\n' +
      'completions  0.5/s\n' +
      'each worker  24/s while busy\n' +
      'handling     40ms on average, half within 32ms, 99 % 1s\n\n' +
      'WORKER        HOLDS  BUILD\n' +
      'email-7\\e[2J      9  v2\n' +
      'email-8           0\n',
  );
});

test('of a group it tells of partitions that stand still', async () => {
  const group = answer({
    workers: [],
    signals: { lag: 3, partitions: 4, stalled: true, stalledPartitions: 1 },
  });
  const { out, calls } = await flowmesh('scaling orders.events billing', { getScaling: () => group });
  expect(calls[0]?.[1]).toMatchObject({ stream: 'orders.events', group: 'billing' });
  expect(out).toContain('scaling      billing of orders.events, from 2 to 20\n');
  expect(out).toContain('stalled      1 partition: nothing of it is committed\n');
  expect(out).toContain('handling     not known yet\n');
  expect(out).not.toContain('in flight');
});

const scaling = { scaleFrom: 0, scaleTo: 9, basedOn: [] };
const declared = {
  listQueues: () => ({
    queues: [
      received(pb.Queue, { spec: { name: 'emails.send', scaling } }),
      received(pb.Queue, { spec: { name: 'plain' } }),
    ],
  }),
  listStreams: () => ({
    streams: [
      received(pb.Stream, {
        spec: { name: 'orders', consumerGroups: [{ name: 'billing', scaling }, { name: 'audit' }] },
      }),
    ],
  }),
};

test('without a name it lists all that ask for it, also those of which nothing is known', async () => {
  const listed = await flowmesh('scaling', {
    ...declared,
    getScaling: ({ queue }: pb.GetScalingRequestInput) => {
      if (queue) return answer();
      throw new FlowError('SCALING_UNKNOWN', 'not yet');
    },
  });
  expect(listed.out).toBe(
    'TARGET             LAG  OLDEST  BUSY  WANTED  WHY\n' +
      'emails.send     41,000  2m 10s   4/5       7  Lag\n' +
      'orders billing       0       -   0/0       ?  SCALING_UNKNOWN\n',
  );
  const none = await flowmesh('scaling', {
    listQueues: () => ({ queues: [] }),
    listStreams: () => ({ streams: [] }),
  });
  expect(none).toMatchObject({ out: '', code: 0 });
  expect(none.err).toContain('declare spec.scaling');
});

test('with -o json it is what the API answers', async () => {
  const { out } = await flowmesh('scaling emails.send -o json', { getScaling: () => answer() });
  expect(JSON.parse(out)).toMatchObject({
    advice: { workersWanted: 7, reason: 'Lag' },
    signals: { lag: 41_000, busyWorkers: 4, stalledPartitions: 0 },
    workers: [{ leased: 9 }, { name: 'email-8' }],
  });
});
