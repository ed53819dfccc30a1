// When an object is sent, and when not: against a server that answers, but keeps nothing.
import { expect, test } from 'vitest';
import { Writer } from '../../../operator/kube/apply.ts';
import type { Client } from '../../../operator/kube/client.ts';
import type { KubeObject, Resource } from '../../../operator/kube/objects.ts';
import { testLog } from './support.ts';

const CONFIG_MAPS: Resource = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

test('an object from a list, which has no kind there, is sent once after a start and no more', async () => {
  const metadata = { name: 'a', namespace: 'default' };
  const listed: KubeObject & { data: object } = { metadata: { ...metadata, uid: 'u' }, data: { x: '1' } };
  const sent: unknown[] = [];
  const patch = async (_: Resource, __: unknown, body: object) => {
    sent.push(body);
    return { ...listed, ...body, metadata: listed.metadata };
  };
  const client = { patch } as unknown as Client;
  const writer = new Writer({ client, fieldManager: 'test', log: testLog(), mayWrite: () => true });
  const wanted = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { x: '1' } };
  const apply = async (live: KubeObject) => (await writer.apply(CONFIG_MAPS, wanted, { live })).written;
  expect([await apply(listed), await apply(listed), await apply({ ...wanted, ...listed })]).toEqual([
    true,
    false,
    false,
  ]);
  const changed: KubeObject & { data: object } = { ...listed, data: { x: '2' } };
  expect([await apply(changed), sent.length]).toEqual([true, 2]);
});
