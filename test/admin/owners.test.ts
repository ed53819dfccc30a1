// Declarations in the name of an owner: the same rules for queues and streams, on one shard and on three,
// across restarts with and without a checkpoint.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aJob, Bench, caller } from '../queue/bench.ts';
import { aRecord } from '../stream/support.ts';
import { anOwner, kinds, ownershipOf, positions, release } from './support.ts';

let bench: Bench;
afterEach(() => bench.close());

const code = (code: string, message: RegExp = /./) => ({ code, message: expect.stringMatching(message) });

describe.each([1, 3])('shards: %d', (shards) => {
  beforeEach(async () => {
    bench = await Bench.open({ onDisk: true, shards });
  });

  describe.each(kinds)('$kind', ({ kind, one, other, changed, declare, apply, get, list, remove }) => {
    test('[AD1] a declaration creates, changes, or changes nothing, and says which', async () => {
      expect(await declare(bench, 'a', one)).toMatchObject({
        result: 'created',
        changes: [],
        drifted: false,
      });
      const again = await declare(bench, 'a', other, { generation: 2 });
      expect(again).toMatchObject({ result: 'changed', changes: [changed], drifted: false });
      expect(ownershipOf(await get(bench, 'a'))).toEqual({ uid: 'me', generation: 2, drifted: false });
      const before = positions(bench);
      const repeated = await declare(bench, 'a', other, { generation: 2 });
      expect(repeated).toMatchObject({ result: 'unchanged', changes: [], drifted: false });
      expect(positions(bench)).toEqual(before);
    });

    test.each([true, false])(
      '[AD2] [AD7] an older generation is stale, also after a restart (clean: %s)',
      async (clean) => {
        await declare(bench, 'a', other, { generation: 7 });
        await bench.restart({ clean });
        expect(ownershipOf(await get(bench, 'a'))).toEqual({ uid: 'me', generation: 7, drifted: false });
        await expect(declare(bench, 'a', one, { generation: 6 })).rejects.toMatchObject(
          code('STALE_GENERATION', /generation 7 of Queue default\/me .* 6 is older/),
        );
        expect((await get(bench, 'a')).spec).toMatchObject(other);
        expect(await declare(bench, 'a', other, { generation: 7 })).toMatchObject({ result: 'unchanged' });
      },
    );

    test('[AD3] what another one owns is refused, and names who owns it', async () => {
      await declare(bench, 'a', one);
      const intruders = [anOwner('you'), anOwner('me', { clusterUid: 'there' })];
      await declare(bench, 'a', one, { owner: anOwner('me', { clusterUid: 'here' }) });
      const before = positions(bench);
      for (const owner of intruders) {
        const intrusion = declare(bench, 'a', other, { owner, generation: 9, adoption: 'always' });
        await expect(intrusion).rejects.toMatchObject(code('OWNED_BY_OTHER', /belongs to Queue default\/me/));
        await expect(remove(bench, 'a', { owner })).rejects.toMatchObject(code('OWNED_BY_OTHER'));
        await expect(release(bench, kind, 'a', owner)).rejects.toMatchObject(code('OWNED_BY_OTHER'));
      }
      expect(positions(bench)).toEqual(before);
      expect((await get(bench, 'a')).spec).toMatchObject(one);
    });

    test('[AD4] what is there without an owner is taken over as the policy says', async () => {
      await apply(bench, 'a', one);
      for (const adoption of ['', 'if_identical', 'never']) {
        const refusal = declare(bench, 'a', other, { adoption });
        await expect(refusal).rejects.toMatchObject(code('ADOPTION_REFUSED'));
      }
      await expect(declare(bench, 'a', other)).rejects.toThrow(`${changed.field} ${changed.before}`);
      await expect(declare(bench, 'a', one, { adoption: 'never' })).rejects.toMatchObject(
        code('ADOPTION_REFUSED'),
      );
      expect(ownershipOf(await get(bench, 'a')).uid).toBeUndefined();
      expect(await declare(bench, 'a', one)).toMatchObject({ result: 'adopted', changes: [] });
      await release(bench, kind, 'a');
      const always = await declare(bench, 'a', other, { adoption: 'always' });
      expect(always).toMatchObject({ result: 'adopted', changes: [changed], drifted: false });
    });

    test('[AD5] what somebody else changes is drift until the owner declares again', async () => {
      await declare(bench, 'a', other);
      await apply(bench, 'a', other);
      expect((await get(bench, 'a')).drifted).toBe(false);
      await apply(bench, 'a', one);
      await bench.restart();
      expect(ownershipOf(await get(bench, 'a'))).toEqual({ uid: 'me', generation: 1, drifted: true });
      const repaired = await declare(bench, 'a', other);
      expect(repaired).toMatchObject({ result: 'changed', changes: [changed], drifted: true });
      expect((await get(bench, 'a')).drifted).toBe(false);
      await bench.restart();
      expect((await get(bench, 'a')).drifted).toBe(false);
    });

    test('[AD6] who lets go leaves it as it is; a deletion in a name takes only its own', async () => {
      await declare(bench, 'a', one);
      await expect(release(bench, kind, 'none')).rejects.toMatchObject({
        code: `${kind.toUpperCase()}_NOT_FOUND`,
      });
      expect(await release(bench, kind, 'a')).toEqual({ released: true });
      expect(await release(bench, kind, 'a')).toEqual({ released: false });
      await bench.restart();
      expect(ownershipOf(await get(bench, 'a'))).toEqual({ uid: undefined, generation: 0, drifted: false });
      await expect(remove(bench, 'a', { owner: anOwner('me') })).rejects.toMatchObject(
        code('OWNED_BY_OTHER', /has no owner/),
      );
      await declare(bench, 'a', one, { owner: anOwner('you') });
      expect(await release(bench, kind, 'a', null)).toEqual({ released: true });
      await declare(bench, 'a', one);
      await remove(bench, 'a', { owner: anOwner('me') });
      expect(await list(bench)).toEqual([]);
    });

    test('[AD8] one owner has one of a kind: under another name it is refused', async () => {
      await declare(bench, 'a', one);
      for (const name of ['b', 'c', 'd', 'e'])
        await expect(declare(bench, name, one)).rejects.toMatchObject(code('IMMUTABLE', /has the \w+ a/));
      expect(await list(bench)).toHaveLength(1);
      await release(bench, kind, 'a');
      expect(await declare(bench, 'b', one)).toMatchObject({ result: 'created' });
    });

    test('[AD9] a declaration without uid, generation or a known policy is refused', async () => {
      const bad = [
        { owner: anOwner('') },
        { owner: null as never },
        { generation: 0 },
        { adoption: 'perhaps' },
        { owner: anOwner('x'.repeat(256)) },
        { owner: anOwner('u', { namespace: 'a\nb' }) },
      ];
      for (const by of bad)
        await expect(declare(bench, 'a', one, by)).rejects.toMatchObject(code('INVALID_ARGUMENT'));
      expect(await list(bench)).toEqual([]);
    });
  });

  test('[AD8] partitions do not shrink, and nothing of such a declaration reaches any shard', async () => {
    const [, streams] = kinds;
    await streams?.declare(bench, 's', { partitions: 6, retentionMs: 5000 });
    const shrink = streams?.declare(bench, 's', { partitions: 5, retentionMs: 1 }, { generation: 2 });
    await expect(shrink).rejects.toMatchObject(code('IMMUTABLE', /6 partitions/));
    await bench.restart();
    expect(await streams?.get(bench, 's')).toMatchObject({
      generation: 1,
      spec: { partitions: 6, retentionMs: 5000 },
    });
    for (const { views } of bench.fabric.shards) {
      const view = views[2] as unknown as {
        find(tenant: number, name: string): { cell: { value: object } } | undefined;
      };
      expect(view.find(1, 's')?.cell.value ?? { retentionMs: 5000 }).toMatchObject({ retentionMs: 5000 });
    }
  });

  test('[AD6] a stream with a record in any partition is not empty, and takes records again', async () => {
    const [, streams] = kinds;
    await streams?.declare(bench, 's', { partitions: 6 });
    const publish = (partition: number) =>
      bench.fabric.streams.publish(caller, {
        stream: 's',
        records: [aRecord('x', { partition })],
        mutation: null,
      });
    for (let partition = 0; partition < 6; partition++) {
      await publish(partition);
      const removal = streams?.remove(bench, 's', { owner: anOwner('me'), ifEmpty: true });
      await expect(removal).rejects.toMatchObject(code('NOT_EMPTY'));
      await publish(partition);
      await streams?.remove(bench, 's');
      await streams?.declare(bench, 's', { partitions: 6 });
    }
    await streams?.remove(bench, 's', { owner: anOwner('me'), ifEmpty: true });
    expect(await streams?.list(bench)).toEqual([]);
  });

  test('[AD6] a record acknowledged beside the deletion of an empty stream is never lost', async () => {
    const [, streams] = kinds;
    for (let round = 0; round < 40; round++) {
      const name = `s${round}`;
      await streams?.declare(bench, name, { partitions: 6 }, { owner: anOwner(name) });
      const publish = (partition: number) =>
        bench.fabric.streams
          .publish(caller, { stream: name, records: [aRecord('x', { partition })], mutation: null })
          .then(
            () => 'acked',
            () => 'refused',
          );
      const before = Array.from({ length: round % 4 === 3 ? 1 : 0 }, (_, i) => publish(i));
      const removal = streams?.remove(bench, name, { ifEmpty: true }).then(
        () => 'gone',
        () => 'kept',
      );
      // Now and then between the moment in which the others are asked and the one in which home decides.
      for (let turn = 0; turn < round; turn++) await Promise.resolve();
      const after = Array.from({ length: 6 }, (_, i) => publish(i));
      const outcome = await removal;
      const acked = (await Promise.all([...before, ...after])).filter((each) => each === 'acked').length;
      if (outcome === 'kept') expect(acked).toBeGreaterThan(0);
      const there = (await bench.fabric.admin.getStream(caller, { name }).catch(() => ({ partitions: [] })))
        .partitions;
      expect((there ?? []).reduce((sum, { end = 0 }) => sum + (end ?? 0), 0)).toBe(acked);
    }
  });

  test('[AD6] a queue with jobs is not deleted where it must be empty', async () => {
    const [queues] = kinds;
    await queues?.declare(bench, 'q', {});
    await bench.enqueue('q', aJob('a'));
    const removal = queues?.remove(bench, 'q', { owner: anOwner('me'), ifEmpty: true });
    await expect(removal).rejects.toMatchObject(code('NOT_EMPTY'));
  });
});

test('[AD1] a repeat of (producer, sequence) gets the first answer', async () => {
  bench = await Bench.open();
  const spec = { mutation: { producerId: 'p', seq: 1, cause: null } };
  const first = await kinds[0]?.declare(bench, 'q', spec);
  expect(first).toMatchObject({ result: 'created' });
  expect(await kinds[0]?.declare(bench, 'q', spec)).toMatchObject({ result: 'created' });
});
