// flowmesh queue effects, stream effects; queue get --at, queue jobs --at.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { expect, test } from 'vitest';
import { flowmesh, noonMs, received } from './support.ts';

const effects: pb.EffectInput[] = [
  {
    deliveryId: '0-1-0@7',
    ordinal: 1,
    kind: 'enqueued',
    queue: 'out',
    jobId: '0-2-5',
    position: 9,
    timeMs: noonMs,
  },
  {
    ...{ deliveryId: '0-1-0@7', ordinal: 2, kind: 'set', keyspace: 'default', position: 10, timeMs: noonMs },
    change: { key: Buffer.from('a\u001b'), reason: 'set', type: 'string', revision: 3 },
  },
  { ...{ ordinal: 3, kind: 'committed', stream: 's', partition: 1, offset: 4 }, group: 'g', timeMs: noonMs },
];

test('effects are a table of what was done, and where', async () => {
  const answers = {
    listEffects: () => received(pb.ListEffectsResponse, { effects, knownSinceMs: noonMs }) as unknown,
  };
  const { out, err, calls } = await flowmesh('queue effects 0-1-0', answers);
  expect(calls[0]?.[1]).toMatchObject({ jobId: '0-1-0', limit: 100 });
  expect(out).toContain('enqueued   out 0-2-5');
  expect(out).toContain('set        a\\e');
  expect(out).toContain('committed  s/1 4 of g');
  expect(err).toContain('may be forgotten');
  const json = JSON.parse((await flowmesh('stream effects s 1 4 -o json', answers)).out);
  expect(json).toMatchObject({ isComplete: true, effects: [{ ordinal: 1 }, { ordinal: 2 }, { ordinal: 3 }] });
});

test('effects follow the cursor to the limit, and say that there are more', async () => {
  const page = () => received(pb.ListEffectsResponse, { effects, cursor: 'x' }) as unknown;
  const { err, calls } = await flowmesh('stream effects s 1 4 --limit 5', { listEffects: page });
  expect(calls.map(([, request]) => [request['cursor'], request['limit']])).toEqual([
    ['', 5],
    ['x', 2],
  ]);
  expect(err).toContain('more effects than 5');
  const none = await flowmesh('queue effects 0-1-0', {
    listEffects: () => received(pb.ListEffectsResponse, {}),
  });
  expect(none).toMatchObject({ code: 0, out: '', err: 'no effects are known\n' });
});

test('queue get --at counts the jobs of then, queue jobs --at lists them', async () => {
  const counts = { queue: 'q', position: 7, waiting: 3, leased: 1 };
  const jobs = [{ id: '0-1-0', state: 'waiting', enqueuedAtMs: noonMs, payload: Buffer.from('p') }];
  const answers = {
    getQueueAt: () => received(pb.QueueAt, counts) as unknown,
    listJobsAt: () => received(pb.ListJobsAtResponse, { jobs, position: 7 }) as unknown,
  };
  const got = await flowmesh('queue get q --at 15m', answers);
  expect(got.calls).toMatchObject([['getQueueAt', { queue: 'q', timeMs: noonMs - 900_000 }]]);
  expect(got.out).toMatch(/waiting +3\n/);
  expect(JSON.parse((await flowmesh('queue get q --at 15m -o json', answers)).out)).toMatchObject(counts);
  const listed = await flowmesh('queue jobs q --at 15m --state waiting', answers);
  expect(listed.calls).toMatchObject([
    ['listJobsAt', { timeMs: noonMs - 900_000, state: 'waiting', limit: 50 }],
  ]);
  expect(listed.out).toMatch(/0-1-0 +waiting/);
});
