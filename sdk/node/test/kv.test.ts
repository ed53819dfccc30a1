import { FlowError } from '@flowmesh/protocol';
import { expect, test } from 'vitest';
import { failureOf, startFake } from './support.ts';

test('values come back as what they were', async () => {
  const { fm } = await startFake();
  await fm.kv.set('json', { name: 'Ada', tags: [1, null] });
  await fm.kv.set('text', 'héllo');
  await fm.kv.set('bytes', new Uint8Array([0, 255]));
  expect(await fm.kv.get('json')).toEqual({ name: 'Ada', tags: [1, null] });
  expect(await fm.kv.get('text')).toBe('héllo');
  expect(Buffer.from((await fm.kv.get<Uint8Array>('bytes')) ?? [])).toEqual(Buffer.from([0, 255]));
  expect(await fm.kv.get('absent')).toBeUndefined();
});

test('conditions that do not hold are outcomes, not errors', async () => {
  const { fm } = await startFake();
  const { revision } = await fm.kv.set('k', 1);
  expect(await fm.kv.set('k', 2, { ifAbsent: true })).toEqual({ applied: false, revision });
  expect(await fm.kv.set('k', 2, { ifRevision: 99 })).toEqual({ applied: false, revision });
  expect((await fm.kv.set('k', 2, { ifRevision: revision })).applied).toBe(true);
  expect((await fm.kv.set('k', 3, { ifRevision: 0 })).applied).toBe(false);
});

test('operations of one tick share a request and keep their order', async () => {
  const { fake, fm } = await startFake();
  const [, before, , after] = await Promise.all([
    fm.kv.set('k', 1),
    fm.kv.get('k'),
    fm.kv.increment('k', 4),
    fm.kv.get('k'),
  ]);
  expect([before, after]).toEqual([1, 5]);
  expect(fake.kv.requests).toEqual([4]);
});

test('keyspaces are apart', async () => {
  const { fm } = await startFake();
  await fm.kv.keyspace('sessions').set('k', 1);
  expect(await fm.kv.get('k')).toBeUndefined();
  expect(await fm.kv.keyspace('sessions').get('k')).toBe(1);
});

test('hash values keep their type, and numbers are plain for others to read', async () => {
  const { fake, fm } = await startFake();
  const given = {
    s: 'text',
    n: 12,
    f: 1.5,
    t: true,
    z: null,
    o: { a: 1 },
    digits: '12',
    quoted: '"x"',
    __proto__x: 'y',
  };
  expect(await fm.kv.hash('h').set(given)).toBe(9);
  expect(await fm.kv.hash('h').getAll()).toEqual(given);
  expect(await fm.kv.hash('h').get('digits')).toBe('12');
  expect(await fm.kv.hash('h').get('absent')).toBeUndefined();
  expect(await fm.kv.hash('h').getMany(['n', 'absent'])).toEqual([12, undefined]);
  const stored = fake.kv.keys.get('/h')?.hash;
  expect([stored?.get('s')?.toString(), stored?.get('n')?.toString()]).toEqual(['text', '12']);
});

test('an operation that is refused for now is tried again, its neighbours are not', async () => {
  const { fake, fm } = await startFake();
  let refusals = 2;
  const execute = fake.kv.execute.bind(fake.kv);
  fake.kv.execute = (request) => {
    const response = execute(request);
    const results = request.ops.map((op, i) =>
      op.set !== null && Buffer.from(op.set.key).toString() === 'full' && refusals-- > 0
        ? { error: { code: 'DISK_FULL', message: 'no space', retryAfterMs: 5 } }
        : (response.results?.[i] ?? {}),
    );
    return { ...response, results };
  };
  const [a, b] = await Promise.all([fm.kv.increment('n'), fm.kv.set('full', 1)]);
  expect([a, b.applied]).toEqual([1, true]);
  expect(await fm.kv.get('n')).toBe(1);
});

test('an operation that fails fails alone', async () => {
  const { fm } = await startFake();
  const [set, failure] = await Promise.all([fm.kv.set('k', 1), failureOf(fm.kv.sortedSet('z').score('m'))]);
  expect(set.applied).toBe(true);
  expect(failure).toBeInstanceOf(FlowError);
  expect(failure.code).toBe('UNIMPLEMENTED');
});

test('requests whose replies were lost are not done twice', async () => {
  const { fake, fm } = await startFake();
  await fm.kv.set('warm', 1);
  fake.loseReplies = 1;
  const sum = fm.kv.increment('n', 5);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await fake.restart();
  expect(await sum).toBe(5);
  expect(fake.batches.repeated).toBe(1);
});

test('a bad name or ttl is refused before it is sent', async () => {
  const { fm } = await startFake();
  const codes = await Promise.all(
    [
      fm.kv.get(''),
      fm.kv.get('k'.repeat(1025)),
      fm.kv.set('k', 1, { ttl: 0 }),
      fm.kv.increment('k', 0.5),
    ].map(async (call) => (await failureOf(call)).code),
  );
  expect(codes).toEqual(['INVALID_ARGUMENT', 'KEY_TOO_LARGE', 'INVALID_ARGUMENT', 'INVALID_ARGUMENT']);
});
