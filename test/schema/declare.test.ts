// Schemas as they are declared: versions, references, deletion; on one shard and on three.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { anOwner } from '../admin/support.ts';
import { aQueue, Bench, caller } from '../queue/bench.ts';
import { aSpec } from '../stream/support.ts';
import { aJsonVersion, apply, aSchema, aVersion, enqueue, jsonJob, ORDER, ref, refusal } from './support.ts';

let bench: Bench;
afterEach(() => bench.close());

const admin = () => bench.fabric.admin;
const get = (name: string) => admin().getSchema(caller, { name });
const remove = (name: string) => admin().deleteSchema(caller, { name, owner: null, mutation: null });
/** Two schemas whose homes differ on three shards. */
const NAMES = ['order', 'invoice', 'a', 'b', 'c', 'd'];

describe.each([1, 3])('shards: %d', (shards) => {
  beforeEach(async () => {
    bench = await Bench.open({ shards, onDisk: true });
  });

  test('[SC1] a schema has versions, and says which is the newest', async () => {
    const two = [aVersion(1, ORDER), aJsonVersion(7, { type: 'object' })];
    expect(await apply(bench, 'order', ...two)).toMatchObject({
      spec: { name: 'order', compatibility: 'backward', versions: two },
      ...{ latestVersion: 7, users: 0, owner: null },
    });
    const { schemas } = await admin().listSchemas(caller);
    expect(schemas).toMatchObject([{ spec: { name: 'order', versions: [{ version: 1 }, { version: 7 }] } }]);
    const wrong: [Parameters<typeof aSchema>, string, RegExp][] = [
      [['s', []], 'SCHEMA_INVALID', /has 0 versions/],
      [['s', [aVersion(2, {}), aVersion(1, {})]], 'SCHEMA_INVALID', /version 1 .* comes behind 2/],
      [['s', [aVersion(0, {})]], 'SCHEMA_INVALID', /numbers from 1/],
      [
        ['s', [aVersion(1, { a: 'strng' })]],
        'SCHEMA_INVALID',
        /^version 1 of schema s: \/properties\/a is "strng"/,
      ],
      [['s@1', [aVersion(1, {})]], 'INVALID_ARGUMENT', /schema name "s@1"/],
      [['s', [aVersion(1, {})], 'sideways'], 'INVALID_ARGUMENT', /compatibility is one of/],
    ];
    for (const [spec, code, why] of wrong)
      await expect(admin().applySchema(caller, aSchema(...spec))).rejects.toMatchObject(refusal(code, why));
    await expect(get('s')).rejects.toMatchObject({ code: 'SCHEMA_NOT_FOUND' });
  });

  test('[SC2] a version never changes and never goes', async () => {
    await apply(bench, 'order', aVersion(1, { a: 'string', b: 'number' }), aVersion(3, { a: 'string' }));
    const before = await get('order');
    // The same, in another order of names; and one left out.
    await apply(bench, 'order', aVersion(1, { b: 'number', a: 'string' }));
    expect(await get('order')).toEqual(before);
    const other = apply(bench, 'order', aVersion(1, { a: 'string' }));
    await expect(other).rejects.toMatchObject(
      refusal('IMMUTABLE', /^version 1 of schema order is \{"fields":.*never changes.*: declare version 4$/),
    );
    const between = apply(bench, 'order', aVersion(2, { a: 'string' }));
    await expect(between).rejects.toMatchObject(refusal('IMMUTABLE', /before version 3, .*: number it 4$/));
    expect(await get('order')).toEqual(before);
    await apply(bench, 'order', aVersion(4, { c: 'boolean' }));
    expect((await get('order')).spec?.versions?.map(({ version }) => version)).toEqual([1, 3, 4]);
    await bench.restart();
    await expect(apply(bench, 'order', aVersion(4, {}))).rejects.toMatchObject({ code: 'IMMUTABLE' });
  });

  test('[SC2] an owner adds versions, and is not stuck with those that others added', async () => {
    const owner = anOwner('me');
    const declare = (generation: number, ...versions: ReturnType<typeof aVersion>[]) =>
      admin().declareSchema(caller, { spec: aSchema('order', versions), owner, generation, adoption: '' });
    expect(await declare(1, aVersion(1, { a: 'string' }))).toMatchObject({ result: 'created' });
    expect(await declare(2, aVersion(1, { a: 'string' }), aVersion(2, {}))).toMatchObject({
      result: 'changed',
      changes: [{ field: 'versions.2', before: '', after: '{"fields":{}}' }],
    });
    await apply(bench, 'order', aVersion(3, { x: 'number' }));
    expect(await get('order')).toMatchObject({ drifted: true, latestVersion: 3 });
    expect(await declare(2, aVersion(2, {}))).toMatchObject({
      result: 'unchanged',
      drifted: true,
      changes: [],
    });
    expect(await get('order')).toMatchObject({ drifted: false, latestVersion: 3, generation: 2 });
  });

  test('[SC5] a schema has at most 100 versions, and so many characters', async () => {
    const versions = Array.from({ length: 100 }, (_, i) => aVersion(i + 1, {}));
    await apply(bench, 'order', ...versions);
    await expect(apply(bench, 'order', aVersion(101, {}))).rejects.toMatchObject(
      refusal('SCHEMA_INVALID', /would have 101 versions/),
    );
    const large = Array.from({ length: 9 }, (_, i) => aJsonVersion(i + 1, { title: 'x'.repeat(60_000) }));
    await expect(apply(bench, 'large', ...large)).rejects.toMatchObject(
      refusal('SCHEMA_INVALID', /characters; at most/),
    );
  });

  test('[SC6] what comes later is kept as it is declared', async () => {
    const migrate = JSON.stringify([{ rename: { from: 'a', to: 'b' } }]);
    const spec = aSchema(
      'order',
      [aVersion(1, { a: 'string' }), aVersion(2, { b: 'string' }, { migrate })],
      'full',
    );
    await admin().applySchema(caller, spec);
    expect((await get('order')).spec).toMatchObject({ compatibility: 'full', versions: [{}, { migrate }] });
    const broken = aSchema('order', [aVersion(3, {}, { migrate: '[{"move":{}}]' })]);
    await expect(admin().applySchema(caller, broken)).rejects.toMatchObject(
      refusal('SCHEMA_INVALID', /migrate\/0 is one of rename, set, remove/),
    );
  });

  test('[SC10] a reference to what is not declared is refused, and taken once it is', async () => {
    const queue = (version = 0) =>
      admin().applyQueue(caller, aQueue('q', { schemaRef: ref('order', version) }));
    const stream = (version = 0) =>
      admin().applyStream(caller, aSpec('s', 4, { schemaRef: ref('order', version) }));
    for (const declare of [queue, stream])
      await expect(declare()).rejects.toMatchObject(
        refusal('SCHEMA_UNKNOWN', /^schema order is not declared: declare it first, then this again$/),
      );
    await expect(admin().getQueue(caller, { name: 'q' })).rejects.toMatchObject({ code: 'QUEUE_NOT_FOUND' });
    await expect(admin().getStream(caller, { name: 's' })).rejects.toMatchObject({
      code: 'STREAM_NOT_FOUND',
    });
    await apply(bench, 'order', aVersion(1, ORDER));
    for (const declare of [queue, stream]) {
      await expect(declare(2)).rejects.toMatchObject(
        refusal('SCHEMA_UNKNOWN', /^version 2 of schema order is not/),
      );
      await declare();
      await declare(1);
    }
    expect((await admin().getQueue(caller, { name: 'q' })).spec?.schemaRef).toEqual(ref('order', 1));
    expect((await admin().getStream(caller, { name: 's' })).spec?.schemaRef).toEqual(ref('order', 1));
    const bad = admin().applyQueue(caller, aQueue('q', { schemaRef: ref('no/name') }));
    await expect(bad).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('[SC11] [SC13] what is referred to is not deleted, and names who refers', async () => {
    for (const name of NAMES) await apply(bench, name, aVersion(1, ORDER));
    await admin().applyQueue(caller, aQueue('q', { schemaRef: ref('order') }));
    await admin().applyStream(caller, aSpec('s', 4, { schemaRef: ref('order', 1) }));
    expect(await get('order')).toMatchObject({ users: 2 });
    const { schemas } = await admin().listFigures(caller, {
      kind: 'schema',
      cursor: '',
      limit: 0,
      bucketed: false,
    });
    expect(schemas?.find(({ name }) => name === 'order')).toMatchObject({
      users: 2,
      versions: 1,
      latestVersion: 1,
    });
    await expect(remove('order')).rejects.toMatchObject(
      refusal('SCHEMA_IN_USE', /^schema order is what queue q, stream s must match$/),
    );
    await admin().applyQueue(caller, aQueue('q'));
    await admin().deleteStream(caller, { name: 's', ifEmpty: false, owner: null, mutation: null });
    await remove('order');
    await expect(get('order')).rejects.toMatchObject({ code: 'SCHEMA_NOT_FOUND' });
    await expect(remove('order')).rejects.toMatchObject({ code: 'SCHEMA_NOT_FOUND' });
    await bench.restart();
    expect((await admin().listSchemas(caller)).schemas).toHaveLength(NAMES.length - 1);
    // Another one of the name begins anew.
    await apply(bench, 'order', aVersion(1, { other: 'string' }));
    await admin().applyQueue(caller, aQueue('q', { schemaRef: ref('order') }));
    await enqueue(bench, 'q', jsonJob({ other: 'x' }));
    await expect(enqueue(bench, 'q', jsonJob({ order_id: 'x' }))).rejects.toMatchObject({
      code: 'SCHEMA_VIOLATION',
    });
  });

  test('[SC12] declarations and deletions beside each other leave no reference to nothing', async () => {
    for (let round = 0; round < 10; round++) {
      await apply(bench, 'order', aVersion(1, ORDER));
      const outcomes = await Promise.allSettled([
        admin().applyQueue(caller, aQueue(`q${round}`, { schemaRef: ref('order') })),
        remove('order'),
        admin().applyStream(caller, aSpec(`s${round}`, 3, { schemaRef: ref('order') })),
      ]);
      const [queue, removed, stream] = outcomes.map(({ status }) => status === 'fulfilled');
      const isThere = await get('order').then(
        () => true,
        () => false,
      );
      expect(isThere).toBe(!removed);
      if (queue || stream) expect(isThere).toBe(true);
      await bench.restart();
      if (queue) await enqueue(bench, `q${round}`, jsonJob({ order_id: 'a', amount: 1 }));
      await admin().applyQueue(caller, aQueue(`q${round}`));
      if (stream) await admin().applyStream(caller, aSpec(`s${round}`, 3));
    }
  });
});

test('[SC4] a repeat of a declaration with the same sequence is answered as before', async () => {
  bench = await Bench.open();
  const mutation = { producerId: 'p', seq: 1, cause: null };
  const spec = { ...aSchema('order', [aVersion(1, ORDER)]), mutation };
  const first = await admin().applySchema(caller, spec);
  await remove('order');
  await expect(admin().applySchema(caller, spec)).rejects.toMatchObject({ code: 'SCHEMA_NOT_FOUND' });
  expect(first).toMatchObject({ latestVersion: 1 });
});
