import { expect, test } from 'vitest';
import { RetryAfter, type StreamEvent, Unrecoverable } from '../src/index.ts';
import { another, failureOf, startFake, until } from './support.ts';

const textOf = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

async function aStream(partitions = 1) {
  const { fake, fm } = await startFake();
  fake.streams.create('s', partitions);
  fake.streams.partitionsOfNew = 1;
  return { fake, fm };
}

test('[ST60] what fails is tried again, in order, and committed when it was handled', async () => {
  const { fake, fm } = await aStream();
  await fm.stream.writeMany('s', ['a', 'b', 'c']);
  const seen: string[] = [];
  const abort = new AbortController();
  const handler = (event: StreamEvent<string>, attempt: number) => {
    seen.push(`${event.value}${attempt}`);
    if (event.value === 'b' && attempt < 3) throw new RetryAfter(0.001);
    if (event.value === 'c') abort.abort();
  };
  await fm.stream.handle<string>('s', 'g', handler, { signal: abort.signal });
  expect(seen).toEqual(['a1', 'b1', 'b2', 'b3', 'c1']);
  expect(fake.streams.commits.at(-1)).toMatchObject({ offset: 3 });
  expect(fake.streams.published).toEqual([]);
});

test('[ST60] a poison event becomes a dead letter as it was, and its partition goes on', async () => {
  const { fake, fm } = await aStream();
  const options = { key: 'k', headers: { h: 'v' }, envelope: { correlationId: 'c' } };
  await fm.stream.write('s', { poison: true }, options);
  await fm.stream.write('s', 'fatal');
  await fm.stream.write('s', null, { key: 'gone' });
  await fm.stream.write('s', 'good');
  const seen: unknown[] = [];
  const errors: number[] = [];
  const abort = new AbortController();
  const handler = (event: StreamEvent) => {
    seen.push(event.value);
    if (event.value === 'good') abort.abort();
    else if (event.value === 'fatal') throw new Unrecoverable('never');
    else throw new Error('boom'.repeat(1000));
  };
  const onError = (_: unknown, __: StreamEvent, attempt: number) => void errors.push(attempt);
  const more = { attempts: 2, backoff: 0.001, signal: abort.signal, onError };
  await fm.stream.handle('s', 'g', handler, more);
  expect(seen).toEqual([{ poison: true }, { poison: true }, 'fatal', null, null, 'good']);
  expect(errors).toEqual([1, 2, 1, 1, 2]);
  expect(fake.streams.commits.at(-1)).toMatchObject({ offset: 4 });
  const [poison, fatal, gone] = fake.streams.published;
  expect([poison, fatal, gone].map((each) => each?.stream)).toEqual(['s.dead', 's.dead', 's.dead']);
  expect(poison?.record).toMatchObject({
    contentType: 'application/json',
    envelope: { correlationId: 'c', causationId: 's/0/0' },
  });
  expect([textOf(poison?.record.key), textOf(poison?.record.value)]).toEqual(['k', '{"poison":true}']);
  const headers = Object.entries(poison?.record.headers ?? {}).map(([name, value]) => [name, textOf(value)]);
  expect(Object.fromEntries(headers)).toMatchObject({
    h: 'v',
    'flowmesh-source': 's/0/0',
    'flowmesh-group': 'g',
    'flowmesh-attempts': '2',
    'flowmesh-error': expect.stringMatching(/^Error: boomboom.{400,510}$/),
  });
  expect(gone?.record).toMatchObject({ tombstone: true });
});

test('[ST60] without dead letters the error ends it, and the event is not committed', async () => {
  const { fake, fm } = await aStream();
  await fm.stream.writeMany('s', ['a', 'b']);
  const handler = (event: StreamEvent) => {
    if (event.value === 'b') throw new Error('boom');
  };
  const handling = fm.stream.handle('s', 'g', handler, { attempts: 1, deadLetter: false });
  await expect(handling).rejects.toThrow('boom');
  expect(fake.streams.commits.at(-1)).toMatchObject({ offset: 1 });
  expect(fake.streams.left).toHaveLength(1);
});

test('[ST60] an event whose dead letter is refused is not skipped', async () => {
  const { fake, fm } = await aStream();
  fake.streams.partitionsOfNew = 0; // Nobody makes streams here.
  await fm.stream.write('s', 'a');
  const handler = () => {
    throw new Error('boom');
  };
  const failure = await failureOf(fm.stream.handle('s', 'g', handler, { attempts: 1 }));
  expect(failure).toBeInstanceOf(Error);
  expect(fake.streams.commits).toEqual([]);
});

test('[ST61] a partition that is asked for is given up between two attempts, with its event', async () => {
  const { fake, fm } = await aStream(2);
  for (const partition of [0, 1]) await fm.stream.write('s', `stuck${partition}`, { partition });
  const seen: string[] = [];
  const handlerOf = (name: string) => (event: StreamEvent, attempt: number) => {
    seen.push(`${name} ${event.value} ${attempt}`);
    if (name === 'first') throw new RetryAfter('1h');
  };
  const first = fm.stream.handle('s', 'g', handlerOf('first'));
  await until(() => seen.length === 1, 'the first member has tried');
  const other = await another(fake);
  const second = other.stream.handle('s', 'g', handlerOf('second'));
  await until(() => fake.streams.revoked.length > 0, 'a partition is given up');
  const [revoked] = fake.streams.revoked;
  await until(() => seen.includes(`second stuck${revoked} 1`), 'the second member takes over');
  await Promise.all([fm.close(), other.close(), first, second]);
  expect(seen.filter((each) => each.endsWith('stuck0 1')).length).toBeLessThanOrEqual(2);
});

test('[ST62] a consumer hears of what retention removed before it was read', async () => {
  const { fake, fm } = await aStream();
  for (const value of ['a', 'b', 'c']) await fm.stream.write('s', value);
  const log = fake.streams.byName.get('s')?.[0];
  log?.batches.splice(0, 2);
  log?.firstOffsets.splice(0, 2);
  const skipped: unknown[] = [];
  const consumer = fm.stream.consumer('s', 'g', { onSkipped: (each) => skipped.push(each) });
  const { value: event } = await consumer.next();
  expect(event).toMatchObject({ value: 'c', offset: 2 });
  expect(skipped).toEqual([{ partition: 0, from: 0, to: 2 }]);
  await consumer.close();
});
