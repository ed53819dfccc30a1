// The informer against a real API server: history that is gone, restarts, many objects.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../../../e2e/control-plane.ts';
import { Informer, type InformerOptions } from '../../../operator/kube/informer.ts';
import { realRuntime } from '../../../operator/runtime.ts';
import { testLog } from '../../operator/kube/support.ts';
import { type Connection, connect, defineWidgets, holds, WIDGETS, type Widget } from './support.ts';

let plane: ControlPlane;
let connection: Connection;
let running: Informer<Widget>[] = [];

beforeAll(async () => {
  plane = await startControlPlane();
  await defineWidgets(plane);
  connection = await connect(plane.kubeconfig);
});
afterEach(async () => {
  for (const each of running.splice(0)) await each.stop();
});
afterAll(async () => {
  connection?.transport.close();
  await plane?.stop();
});

function start(options: Partial<InformerOptions<Widget>> = {}) {
  const relists: string[] = [];
  const log = testLog();
  const informer = new Informer<Widget>(
    { resource: WIDGETS, namespaces: ['default'], ...options },
    { client: connection.client, runtime: realRuntime, log, onRelist: (_, reason) => relists.push(reason) },
  );
  running.push(informer);
  informer.start();
  return { informer, relists, log };
}

const create = (name: string, size = 1) =>
  connection.client.create(WIDGETS, { metadata: { name, namespace: 'default' }, spec: { size } });
const remove = (name: string) => connection.client.delete(WIDGETS, { name, namespace: 'default' });

test('lists in pages, follows changes, sees the end', async () => {
  for (let n = 0; n < 5; n++) await create(`page-${n}`);
  const { informer } = start({ pageSize: 2 });
  await informer.synced;
  expect(informer.size).toBe(5);
  const merge = { type: 'merge' } as const;
  await connection.client.patch(
    WIDGETS,
    { name: 'page-0', namespace: 'default' },
    { spec: { size: 9 } },
    merge,
  );
  await holds('the change', () => informer.get('default/page-0')?.spec?.size === 9);
  expect(informer.get('default/page-0')?.metadata.managedFields).toBeUndefined();
  for (let n = 0; n < 5; n++) await remove(`page-${n}`);
  await holds('the end', () => informer.size === 0);
});

test('metadata only: names and owners, without the rest', async () => {
  await create('meta', 3);
  const { informer } = start({ metadataOnly: true });
  await informer.synced;
  expect(informer.get('default/meta')?.metadata.name).toBe('meta');
  expect(informer.get('default/meta')?.spec).toBeUndefined();
  await create('meta-2');
  await holds('the new one', () => informer.get('default/meta-2') !== undefined);
  await Promise.all([remove('meta'), remove('meta-2')]);
  await holds('the end', () => informer.size === 0);
});

test('the API server is killed: the watch goes on, and what happened meanwhile is there', async () => {
  await create('before');
  const { informer, relists } = start();
  await informer.synced;
  await plane.stopApiServer('SIGKILL');
  await plane.startApiServer();
  const answer = await plane.api('POST', '/apis/test.flowmesh.io/v1/namespaces/default/widgets', {
    apiVersion: 'test.flowmesh.io/v1',
    kind: 'Widget',
    metadata: { name: 'after' },
  });
  expect(answer.status).toBe(201);
  await holds('what came after', () => informer.get('default/after') !== undefined, 60_000);
  expect(relists.length).toBeGreaterThan(0);
  await Promise.all([remove('before'), remove('after')]);
  await holds('the end', () => informer.size === 0);
});

test('the history is gone (410): it lists again, and what was deleted meanwhile goes', async () => {
  await create('stays');
  await create('goes');
  const { informer, relists } = start();
  await informer.synced;
  const deleted: string[] = [];
  informer.onChange(({ kind, key }) => kind === 'deleted' && deleted.push(key));
  // Blind while the object goes and the history with it.
  await informer.stop();
  running = [];
  const version = informer.get('default/stays')?.metadata.resourceVersion ?? '';
  await remove('goes');
  await plane.forgetHistory();
  const terms = { namespace: 'default', version, forSeconds: 60, idleMs: 60_000 };
  const look = async () =>
    JSON.stringify(
      await connection.client
        .watch(WIDGETS, terms)
        .next()
        .catch((error) => error),
    );
  let first = await look();
  // A server that has just started may be too busy to say more.
  while (first.includes('429')) first = await look();
  expect(first).toContain('410');

  const next = start();
  await next.informer.synced;
  await plane.forgetHistory();
  await create('comes');
  await holds('it follows', () => next.informer.get('default/comes') !== undefined, 60_000);
  expect([...next.informer.keys()].sort()).toEqual(['default/comes', 'default/stays']);
  expect(relists).toEqual(['start']);
  await Promise.all([remove('stays'), remove('comes')]);
});

test('an API that is not installed is empty, and appears when it is', async () => {
  const absent = { ...WIDGETS, plural: 'gadgets', kind: 'Gadget' };
  const { informer } = start({ resource: absent, optional: true });
  await informer.synced;
  expect(informer.size).toBe(0);
});
