// flowmesh queue effects, stream effects.
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
