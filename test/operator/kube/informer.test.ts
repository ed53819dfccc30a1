// The informer against a server that lists, watches, forgets, cuts and repeats.
//   Feared: changes that are missed between list and watch, objects that stay although they are gone, an end
//   of the informer by something that the server does.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Informer, type InformerOptions } from '../../../operator/kube/informer.ts';
import { FakeApi } from './fake-api.ts';
import { clientOf, fastRuntime, testLog, until, WIDGETS, type Widget, widgetsIn } from './support.ts';

let api: FakeApi;
const stop: (() => Promise<void>)[] = [];

beforeEach(async () => {
  api = await FakeApi.start();
});

afterEach(async () => {
  for (const each of stop.splice(0)) await each();
  await api.close();
});

const a = widgetsIn('a');
const widget = (name: string, size = 1) => ({ metadata: { name }, spec: { size } });

function start(options: Partial<InformerOptions<Widget>> = {}) {
  const { client, transport } = clientOf(api.url);
  const log = testLog();
  const relists: string[] = [];
  const informer = new Informer<Widget>(
    { resource: WIDGETS, ...options },
    { client, runtime: fastRuntime, log, onRelist: (_, reason) => relists.push(reason) },
  );
  const changes: string[] = [];
  informer.onChange(({ kind, key }) => changes.push(`${kind} ${key}`));
  informer.start();
  stop.push(async () => {
    await informer.stop();
    transport.close();
  });
  return { informer, changes, relists, log };
}

const watching = (count = 1) => until('it watches', () => api.watcherCount === count);
const lists = () => api.requests.filter(({ query }) => query.get('watch') === null).length;
const watches = () => api.requests.filter(({ query }) => query.get('watch') === 'true');

test('lists in pages, is synced only then, and follows what happens', async () => {
  for (let n = 0; n < 7; n++) api.put(a, widget(`w${n}`));
  const { informer, changes } = start({ pageSize: 3 });
  expect(informer.isSynced).toBe(false);
  await informer.synced;
  expect(lists()).toBe(3);
  expect(informer.size).toBe(7);
  await watching();
  api.put(a, widget('w0', 5));
  api.put(a, widget('new'));
  api.remove(`${a}/w1`);
  await until('the deletion', () => informer.get('a/w1') === undefined);
  expect(informer.get('a/w0')?.spec?.size).toBe(5);
  expect(changes.slice(7)).toEqual(['updated a/w0', 'added a/new', 'deleted a/w1']);
  expect(lists()).toBe(3);
});

test('[R1] after a cut it goes on from the last version it saw, by an event or a bookmark', async () => {
  api.put(a, widget('w'));
  const { informer, relists } = start();
  await informer.synced;
  await watching();
  // Other kinds move the version on; a bookmark tells.
  api.version += 50;
  api.bookmark();
  api.sendRaw('{"type":"ADDED","object":{"metadata":{"na');
  await new Promise((resolve) => setTimeout(resolve, 20));
  const at = api.version;
  api.compacted = at - 10;
  api.cutAll();
  api.put(a, widget('meanwhile'));
  await until('the missed change', () => informer.get('a/meanwhile') !== undefined);
  expect(watches().at(-1)?.query.get('resourceVersion')).toBe(`${at}`);
  expect(relists).toEqual(['start']);
});

test('[R2] 410 at the start of a watch: it lists again, and what the list lacks is deleted', async () => {
  api.put(a, widget('stays'));
  api.put(a, widget('goes'));
  const { informer, changes, relists } = start();
  await informer.synced;
  await watching();
  api.cutAll();
  await until('the cut', () => api.watcherCount === 0);
  api.remove(`${a}/goes`);
  api.put(a, widget('comes'));
  api.compact();
  await until('the new list', () => informer.get('a/comes') !== undefined);
  expect(informer.get('a/goes')).toBeUndefined();
  expect(changes.slice(2).sort()).toEqual(['added a/comes', 'deleted a/goes']);
  expect(relists).toEqual(['start', 'gone']);
});

test('[R2] 410 in the middle of a watch, as an ERROR event', async () => {
  api.put(a, widget('w'));
  const { informer, relists } = start();
  await informer.synced;
  await watching();
  const gone = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
  api.sendRaw(`${JSON.stringify({ type: 'ERROR', object: gone })}\n`);
  await until('the new list', () => relists.length === 2);
  await watching();
  api.put(a, widget('after'));
  await until('it follows', () => informer.get('a/after') !== undefined);
});

test('[R2] a version that the server does not know (an etcd restored from a backup)', async () => {
  api.put(a, widget('w', 9));
  const { informer, relists } = start();
  await informer.synced;
  await watching();
  const uid = api.get(`${a}/w`)?.metadata.uid;
  api.cutAll();
  // The same object, as it was once.
  api.restore(10);
  api.put(a, widget('w', 3));
  expect(api.get(`${a}/w`)?.metadata.uid).toBe(uid);
  await until('the truth', () => informer.get('a/w')?.spec?.size === 3);
  expect(relists).toEqual(['start', 'unknown-version']);
});

test('[A2] the version of a paginated list expires between pages', async () => {
  for (let n = 0; n < 5; n++) api.put(a, widget(`w${n}`));
  api.faults.push({
    match: ({ query }) => query.get('continue') !== null,
    answer: { status: 410, reason: 'Expired' },
  });
  const { informer } = start({ pageSize: 2 });
  await informer.synced;
  expect(informer.size).toBe(5);
  expect(
    api.requests
      .filter(({ query }) => query.get('watch') === null)
      .at(-1)
      ?.query.get('limit'),
  ).toBeNull();
});

test('[S1] repeated events are heard once; a broken handler breaks nothing', async () => {
  const { informer, changes, log } = start();
  await informer.synced;
  informer.onChange(() => {
    throw new Error('a bug');
  });
  await watching();
  api.put(a, widget('w'));
  api.repeatLast();
  api.put(a, widget('w', 2));
  api.repeatLast();
  api.put(a, widget('end'));
  await until('the end', () => informer.get('a/end') !== undefined);
  expect(changes).toEqual(['added a/w', 'updated a/w', 'added a/end']);
  expect(log.lines.filter(({ event }) => event === 'informer.handler-failed')).toHaveLength(3);
});

test('[R3] an unwilling server: it tries again, says so once in a while, and recovers', async () => {
  const no = { status: 500, reason: 'InternalError' };
  for (let n = 0; n < 5; n++) api.faults.push({ match: () => true, answer: n === 0 ? 'cut' : no });
  const { informer, log } = start();
  await informer.synced;
  await watching();
  const failed = log.lines.filter(({ event }) => event === 'informer.failed');
  expect(failed.map(({ failures }) => failures)).toEqual([1, 2, 3, 4, 5]);
  expect(failed.filter(({ level }) => level === 'warn')).toHaveLength(1);
  const waits = failed.map(({ waitMs }) => waitMs);
  expect(waits).toEqual([375, 750, 1500, 3000, 6000]);
  api.put(a, widget('w'));
  await until('it follows', () => informer.size === 1);
  expect(log.lines.some(({ event }) => event === 'informer.recovered')).toBe(true);
});

test('an API that is not installed is empty, if that is allowed', async () => {
  for (let n = 0; n < 1; n++)
    api.faults.push({ match: () => true, answer: { status: 404, reason: 'NotFound' } });
  const { informer, log } = start({ optional: true });
  await informer.synced;
  expect(informer.size).toBe(0);
  expect(log.lines.filter(({ level }) => level === 'warn')).toEqual([]);
});

test('several namespaces: each has its own list and watch; a new list of one leaves the other', async () => {
  api.put(a, widget('w'));
  api.put(widgetsIn('b'), widget('w'));
  api.put(widgetsIn('c'), widget('w'));
  const { informer } = start({ namespaces: ['a', 'b'] });
  await informer.synced;
  expect([...informer.keys()].sort()).toEqual(['a/w', 'b/w']);
  await watching(2);
  const one = api.requests.findLast(({ path, query }) => path === a && query.get('watch') === null);
  expect(one).toBeDefined();
  api.cutAll();
  api.compact();
  api.put(a, widget('x'));
  await until('it follows', () => informer.get('a/x') !== undefined);
  expect(informer.size).toBe(3);
});

test('indexes follow their objects; only what transform leaves is kept', async () => {
  api.put(a, { metadata: { name: 'w1' }, spec: { parentRef: 'p', size: 1 } });
  api.put(a, { metadata: { name: 'w2' }, spec: { parentRef: 'p' } });
  const { informer } = start({
    indexes: { parent: ({ spec }) => (spec?.parentRef === undefined ? [] : [spec.parentRef]) },
    transform: ({ metadata, spec }) => ({
      metadata,
      ...(spec?.parentRef !== undefined && { spec: { parentRef: spec.parentRef } }),
    }),
  });
  await informer.synced;
  const names = (parent: string) => informer.byIndex('parent', parent).map(({ metadata }) => metadata.name);
  expect(names('p')).toEqual(['w1', 'w2']);
  expect(informer.get('a/w1')?.spec).toEqual({ parentRef: 'p' });
  await watching();
  api.put(a, { metadata: { name: 'w1' }, spec: { parentRef: 'q' } });
  api.remove(`${a}/w2`);
  await until('it follows', () => informer.size === 1);
  expect([names('p'), names('q')]).toEqual([[], ['w1']]);
});

test('[I3] the answer to a write is seen at once, but never brings back what is gone', async () => {
  api.put(a, widget('w'));
  const { informer, changes } = start();
  await informer.synced;
  await watching();
  const known = informer.get('a/w') as Widget;
  const written = {
    ...known,
    metadata: { ...known.metadata, resourceVersion: `${api.version + 1}` },
    spec: { size: 7 },
  };
  informer.observe(written);
  expect(informer.get('a/w')?.spec?.size).toBe(7);
  api.put(a, widget('w', 7));
  api.remove(`${a}/w`);
  await until('it is gone', () => informer.size === 0);
  informer.observe({ ...written, metadata: { ...written.metadata, resourceVersion: `${api.version + 1}` } });
  expect(informer.size).toBe(0);
  expect(changes).toEqual(['added a/w', 'updated a/w', 'deleted a/w']);
});
