// Schemas by kubectl apply, and the queues and streams that name them: in whichever order they come, change
// and go (test/kube/queues.test.ts has what all kinds share).
import { connect, type FlowMesh } from '@flowmesh/client';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../e2e/parts/process.ts';
import type { SchemaObject } from '../../operator/controllers/schema/kind.ts';
import { writesOf } from './cluster/support.ts';
import { kubectl } from './definitions.ts';
import { type AnyObject, type DataPlane, Fleet, type Kind } from './fleet.ts';

let fleet: Fleet;
let main: DataPlane;
let sdk: FlowMesh;

beforeAll(async () => {
  fleet = await Fleet.start();
  main = await fleet.dataPlane('default/main');
  sdk = await connect({ address: main.address });
  await fleet.create('FlowMeshCluster', 'default/main');
  await fleet.operator({ times: { figuresMs: 1000, graceMs: 1000 }, resyncMs: 5000, deletionWaitMs: 6000 });
});
afterAll(async () => {
  await sdk?.close();
  await fleet?.stop();
});

const ORDER = { version: 1, fields: { id: 'string', amount: 'number' } };
const ORDER_2 = { version: 2, fields: { id: 'string', amount: 'number', currency: 'string' } };

async function schemaOf(name: string): Promise<pb.Schema | undefined> {
  const { schemas } = await main.api.listSchemas({});
  return schemas.some(({ spec }) => spec?.name === name) ? main.api.getSchema({ name }) : undefined;
}

const patch = (kind: Kind, name: string, spec: object) => fleet.patch(kind, `default/${name}`, { spec });

const becomes = <T extends AnyObject = SchemaObject>(kind: Kind, name: string, wanted: string) =>
  fleet.condition<T>(kind, `default/${name}`, wanted, 15_000);

async function ready(name: string, spec: object = {}): Promise<SchemaObject> {
  await fleet.create('Schema', `default/${name}`, { versions: [ORDER], ...spec });
  return becomes('Schema', name, 'Ready=True/Ready');
}

const messageOf = ({ status }: AnyObject, type: string) =>
  status?.conditions?.find((each) => each.type === type)?.message;

const told = (name: string, reason: string) =>
  until(`event ${reason} of ${name}`, async () => (await fleet.events(name)).includes(reason));

describe('a schema that is applied', () => {
  test('is there with owner and generation, and its status and columns say so', async () => {
    const object = await ready('shown', { compatibility: 'Full' });
    expect(await schemaOf('shown')).toMatchObject({
      spec: { compatibility: 'full' },
      ...{ latestVersion: 1, generation: 1 },
      owner: { uid: object.metadata.uid, kind: 'Schema', namespace: 'default', name: 'shown' },
    });
    expect(object.status).toMatchObject({
      ...{ observedGeneration: 1, latestVersion: 1, users: 0 },
      effective: { compatibility: 'Full', deletionPolicy: 'Retain', clusterRef: { name: 'main' } },
    });
    expect(object.status?.conditions?.map(({ type, status }) => `${type}=${status}`)).toEqual([
      ...['Accepted=True', 'Synced=True', 'Ready=True', 'Drifted=False'],
    ]);
    const { out } = await kubectl(fleet.plane, 'get', 'schemas', 'shown');
    expect(out).toMatch(/shown\s+True\s+Full\s+1\s+0/);
  });

  test('is enforced for queues and streams that name it: what does not match is not kept', async () => {
    await ready('order');
    const schemaRef = { name: 'order' };
    await fleet.create('Queue', 'default/checked', { schemaRef });
    await fleet.create('Stream', 'default/checked', { schemaRef, partitions: 1 });
    for (const kind of ['Queue', 'Stream'] as const) await becomes(kind, 'checked', 'Ready=True');
    const bad = { code: 'SCHEMA_VIOLATION', message: expect.stringContaining('amount') };
    await expect(sdk.queue.enqueue('checked', { id: 'a', amount: 'much' })).rejects.toMatchObject(bad);
    await expect(sdk.stream.write('checked', { id: 'a' })).rejects.toMatchObject(bad);
    await sdk.queue.enqueue('checked', { id: 'a', amount: 1 });
    await sdk.stream.write('checked', { id: 'a', amount: 1 });
    const { queues } = await main.api.listQueues({});
    expect(queues.find(({ spec }) => spec?.name === 'checked')?.figures?.enqueuedTotal).toBe(1);
    await until('both are counted', async () => {
      const { status } = (await fleet.get<SchemaObject>('Schema', 'default/order')) ?? {};
      return status?.users === 2;
    });
  });

  test('that is not valid says where, and others are not held up', async () => {
    const jsonSchema = { type: 'object', properties: { id: { type: 'strng' } } };
    await fleet.create('Schema', 'default/wrong', { versions: [{ version: 1, jsonSchema }] });
    const wrong = await becomes('Schema', 'wrong', 'Accepted=False/Invalid');
    expect(messageOf(wrong, 'Accepted')).toContain('spec.versions[0].jsonSchema.properties.id.type');
    expect(wrong.metadata.finalizers).toBeUndefined();
    await told('wrong', 'Invalid');
    await ready('unaffected');
    await patch('Schema', 'wrong', { versions: [ORDER] });
    await becomes('Schema', 'wrong', 'Ready=True');
  });
});

describe('a queue or stream before its schema', () => {
  test.each(['Queue', 'Stream'] as const)(
    '%s says which one is missing, and goes on when it comes',
    async (kind) => {
      const name = `early-${kind.toLowerCase()}`;
      await fleet.create(kind, `default/${name}`, { schemaRef: { name } });
      const early = await becomes(kind, name, 'Accepted=False/SchemaNotFound');
      expect(messageOf(early, 'Ready')).toContain(`there is no Schema default/${name}`);
      expect(early.metadata.finalizers).toBeUndefined();
      await told(name, 'SchemaNotFound');
      await fleet.create('Schema', `default/${name}`, { versions: [ORDER] });
      await becomes(kind, name, 'Ready=True');
    },
  );

  test('says that it is not in force while it is refused, and that it is of another cluster', async () => {
    await fleet.create('Schema', 'default/bad', { versions: [{ version: 1, fields: { id: 'strng' } }] });
    await becomes('Schema', 'bad', 'Accepted=False/Invalid');
    await fleet.create('Queue', 'default/patient', { schemaRef: { name: 'bad' } });
    const patient = await becomes('Queue', 'patient', 'Synced=False/SchemaNotReady');
    expect(messageOf(patient, 'Ready')).toContain('kubectl -n default describe schema bad');
    await patch('Schema', 'bad', { versions: [ORDER] });
    await becomes('Queue', 'patient', 'Ready=True');

    await fleet.create('Schema', 'default/abroad', { clusterRef: { name: 'there' }, versions: [ORDER] });
    await fleet.create('Queue', 'default/astray', { schemaRef: { name: 'abroad' } });
    const astray = await becomes('Queue', 'astray', 'Accepted=False/SchemaElsewhere');
    expect(messageOf(astray, 'Accepted')).toContain('kept on default/there, not on default/main');
  });
});

describe('versions', () => {
  test('are added, and who names none has the newest at once', async () => {
    await ready('grows');
    await fleet.create('Queue', 'default/newest', { schemaRef: { name: 'grows' } });
    await fleet.create('Queue', 'default/pinned', { schemaRef: { name: 'grows', version: 1 } });
    for (const name of ['newest', 'pinned']) await becomes('Queue', name, 'Ready=True');
    await patch('Schema', 'grows', { versions: [ORDER, ORDER_2] });
    const { status } = await becomes('Schema', 'grows', 'Synced=True');
    expect([status?.latestVersion, status?.observedGeneration]).toEqual([2, 2]);
    const old = { id: 'a', amount: 1 };
    await sdk.queue.enqueue('pinned', old);
    await expect(sdk.queue.enqueue('newest', old)).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    await sdk.queue.enqueue('newest', { ...old, currency: 'EUR' });
  });

  test('that a queue asks for and nobody has added hold it until somebody does', async () => {
    await ready('short');
    await fleet.create('Queue', 'default/ahead', { schemaRef: { name: 'short', version: 2 } });
    const ahead = await becomes('Queue', 'ahead', 'Accepted=False/SchemaVersionNotFound');
    expect(messageOf(ahead, 'Accepted')).toContain('Schema default/short has no version 2: add it');
    await patch('Schema', 'short', { versions: [ORDER, ORDER_2] });
    await becomes('Queue', 'ahead', 'Ready=True');
  });

  test('that are in force stay as they are: a change is refused with the reason', async () => {
    await ready('kept');
    await fleet.create('Queue', 'default/keeps', { schemaRef: { name: 'kept' } });
    await becomes('Queue', 'keeps', 'Ready=True');
    const changed = { version: 1, fields: { id: 'string' } };
    await patch('Schema', 'kept', { versions: [changed] });
    const refused = await becomes('Schema', 'kept', 'Synced=False/Refused');
    expect(messageOf(refused, 'Synced')).toMatch(/IMMUTABLE: .*version 1/);
    expect(refused.status).toMatchObject({ latestVersion: 1 });
    expect(messageOf(refused, 'Ready')).toMatch(/^it can be used, not as spec says/);
    const short = sdk.queue.enqueue('keeps', { id: 'a' });
    await expect(short).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    expect((await becomes('Queue', 'keeps', 'Ready=True/Ready')).metadata.generation).toBe(1);
    await told('kept', 'Refused');
    await patch('Schema', 'kept', { versions: [ORDER] });
    await becomes('Schema', 'kept', 'Ready=True/Ready');
  });
});

describe('drift of a schema', () => {
  test('is set back where it can be, and shown', async () => {
    await ready('drifts', { compatibility: 'Full' });
    const spec = (await schemaOf('drifts'))?.spec;
    await main.api.applySchema({ ...spec, compatibility: 'none', mutation: main.api.mutation() });
    const object = await becomes('Schema', 'drifts', 'Drifted=True');
    expect(messageOf(object, 'Drifted')).toMatch(/compatibility none -> full/);
    expect((await schemaOf('drifts'))?.spec?.compatibility).toBe('full');
    await told('drifts', 'DriftCorrected');
  });

  test('and says what to do where it cannot: a version that somebody else added', async () => {
    await ready('added');
    const spec = (await schemaOf('added'))?.spec;
    const more = { version: 2, fields: JSON.stringify(ORDER_2.fields) };
    const versions = [...(spec?.versions ?? []), more];
    await main.api.applySchema({ ...spec, versions, mutation: main.api.mutation() });
    const object = await becomes('Schema', 'added', 'Drifted=True/NotInSpec');
    expect(messageOf(object, 'Drifted')).toContain('version 2 is in force, and not in spec');
    expect(object.status).toMatchObject({ latestVersion: 2 });
    await patch('Schema', 'added', { versions: [ORDER, ORDER_2] });
    await becomes('Schema', 'added', 'Drifted=False');
  });

  test('a schema that somebody else deletes is there again', async () => {
    const { metadata } = await ready('deleted');
    await main.api.deleteSchema({ name: 'deleted', mutation: main.api.mutation() });
    await until('it is back', async () => (await schemaOf('deleted'))?.owner?.uid === metadata.uid);
  });
});

describe('two schemas of one name', () => {
  test('on one cluster: the older has it, the other says who', async () => {
    await ready('shared');
    await fleet.namespace('guests');
    await fleet.patch('FlowMeshCluster', 'default/main', { spec: { allowedNamespaces: { from: 'All' } } });
    const clusterRef = { name: 'main', namespace: 'default' };
    await fleet.create('Schema', 'guests/shared', { clusterRef, versions: [ORDER_2] });
    const second = await fleet.condition<SchemaObject>('Schema', 'guests/shared', 'Accepted=False/NameTaken');
    expect(messageOf(second, 'Accepted')).toContain('Schema default/shared is older');
    await fleet.create('Queue', 'guests/guest', { clusterRef, schemaRef: { name: 'shared' } });
    await fleet.condition('Queue', 'guests/guest', 'Synced=False/SchemaNotReady');
    expect((await schemaOf('shared'))?.owner?.namespace).toBe('default');
  });
});

describe('deletion', () => {
  const remove = (kind: Kind, name: string) => fleet.delete(kind, `default/${name}`);
  const gone = (kind: Kind, name: string) => fleet.gone(kind, `default/${name}`, 15_000);

  test.each([
    ['Retain', true],
    ['DeleteIfEmpty', false],
    ['Delete', false],
  ] as const)('%s, with nobody who refers to it', async (deletionPolicy, stays) => {
    const name = `goes-${deletionPolicy.toLowerCase()}`;
    await ready(name, { deletionPolicy });
    await remove('Schema', name);
    await gone('Schema', name);
    const schema = await schemaOf(name);
    expect([schema === undefined, schema?.owner ?? null]).toEqual([!stays, null]);
  });

  test('waits for who refers to it, says who, and ends with the last of them', async () => {
    await ready('held', { deletionPolicy: 'Delete' });
    const schemaRef = { name: 'held' };
    await fleet.create('Queue', 'default/holds', { schemaRef, deletionPolicy: 'Delete' });
    await fleet.create('Stream', 'default/holds', { schemaRef, deletionPolicy: 'Delete', partitions: 1 });
    for (const kind of ['Queue', 'Stream'] as const) await becomes(kind, 'holds', 'Ready=True');
    await remove('Schema', 'held');
    const held = await becomes('Schema', 'held', 'Synced=False/InUse');
    expect(messageOf(held, 'Synced')).toContain('Queue default/holds, Stream default/holds');
    await told('held', 'InUse');
    await expect(sdk.queue.enqueue('holds', {})).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    await remove('Queue', 'holds');
    await until('only the stream is named', async () => {
      const object = await fleet.get<SchemaObject>('Schema', 'default/held');
      return (
        object !== undefined && messageOf(object, 'Synced')?.includes('to it: Stream default/holds;') === true
      );
    });
    // A spec without it is not in force while the stream is left alone.
    const pause = (paused: 'true' | null) => ({ annotations: { 'flowmesh.io/paused': paused } });
    await fleet.patch('Stream', 'default/holds', { metadata: pause('true'), spec: { schemaRef: null } });
    await becomes('Stream', 'holds', 'Synced=Unknown/Paused');
    await becomes('Schema', 'held', 'Synced=False/InUse');
    await fleet.patch('Stream', 'default/holds', { metadata: pause(null) });
    await gone('Schema', 'held');
    await until('it is deleted', async () => (await schemaOf('held')) === undefined);
    await sdk.stream.write('holds', { anything: true });
  });

  test('all at once ends, whatever comes first', async () => {
    await ready('all', { deletionPolicy: 'Delete' });
    await fleet.create('Queue', 'default/all', { schemaRef: { name: 'all' }, deletionPolicy: 'Delete' });
    await becomes('Queue', 'all', 'Ready=True');
    for (const kind of ['Schema', 'Queue'] as const) await remove(kind, 'all');
    for (const kind of ['Schema', 'Queue'] as const) await gone(kind, 'all');
    expect(await schemaOf('all')).toBeUndefined();
  });

  test('lets go of one that a queue without an object refers to, and says so', async () => {
    await ready('left', { deletionPolicy: 'Delete' });
    await fleet.create('Queue', 'default/leaves', { schemaRef: { name: 'left' } });
    await becomes('Queue', 'leaves', 'Ready=True');
    await remove('Queue', 'leaves');
    await gone('Queue', 'leaves');
    await remove('Schema', 'left');
    await gone('Schema', 'left');
    expect(await schemaOf('left')).toMatchObject({ owner: null, users: 1 });
    await told('left', 'InUse');
  });

  test('does not wait for anybody where the cluster is gone', async () => {
    const there = await fleet.dataPlane('default/there');
    await fleet.create('FlowMeshCluster', 'default/there');
    const clusterRef = { name: 'there' };
    await ready('orphan', { clusterRef });
    await fleet.create('Queue', 'default/stays', { clusterRef, schemaRef: { name: 'orphan' } });
    await becomes('Queue', 'stays', 'Ready=True');
    await there.kill('SIGKILL');
    await becomes('Schema', 'orphan', 'Ready=Unknown/Unreachable');
    await remove('Schema', 'orphan');
    await becomes('Schema', 'orphan', 'Synced=False/InUse');
    await remove('FlowMeshCluster', 'there');
    await gone('Schema', 'orphan');
    await told('orphan', 'DataPlaneNotAsked');
  });

  test('has its time from the end of the hold on where the data plane cannot be reached', async () => {
    const away = await fleet.dataPlane('default/away');
    await fleet.create('FlowMeshCluster', 'default/away');
    const clusterRef = { name: 'away' };
    await ready('slow', { clusterRef });
    await fleet.create('Queue', 'default/slow', { clusterRef, schemaRef: { name: 'slow' } });
    await becomes('Queue', 'slow', 'Ready=True');
    await remove('Schema', 'slow');
    await becomes('Schema', 'slow', 'Synced=False/InUse');
    await away.kill('SIGKILL');
    await becomes('Queue', 'slow', 'Ready=Unknown/Unreachable');
    await remove('Queue', 'slow');
    await gone('Queue', 'slow');
    await becomes('Schema', 'slow', 'Synced=Unknown/Deleting');
    await gone('Schema', 'slow');
    await told('slow', 'DataPlaneNotAsked');
  });
});

test('in a steady minute nothing is written', { timeout: 300_000 }, async () => {
  // Drift is shown for 30 s, and what has waited for 30 s gets a date.
  const isAtRest = () => writesOf(fleet.plane, Date.now() - 40_000);
  await expect.poll(isAtRest, { timeout: 150_000, interval: 1000 }).toEqual([]);
  const quietSinceMs = Date.now();
  // A dozen resyncs and sixty lists of figures.
  await new Promise((resolve) => setTimeout(resolve, 60_000));
  expect(writesOf(fleet.plane, quietSinceMs)).toEqual([]);
});
