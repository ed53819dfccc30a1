// What is decided about a Schema, and about a queue or stream that names one.
import { describe, expect, test } from 'vitest';
import { FINALIZER, type World } from '../../../operator/controllers/declared/decide.ts';
import type { Declaration, DeclaredObject } from '../../../operator/controllers/declared/kinds.ts';
import { verdictStatus } from '../../../operator/controllers/declared/status.ts';
import type { SchemaView } from '../../../operator/controllers/schema/reference.ts';
import { anObject, aSynced, at, aWorld, FACTS, NOW, planOf } from '../declared-builders.ts';

const messageOf = (object: { status?: DeclaredObject['status'] | undefined }, type: string) =>
  object.status?.conditions?.find((each) => each.type === type)?.message;

/** Of a plan that does not ask the data plane. */
const statusOf = ({ plan }: ReturnType<typeof planOf>) =>
  plan.status as NonNullable<DeclaredObject['status']>;

describe('a queue or stream that names a schema', () => {
  const key = 'shop/order';
  const views: [SchemaView, 'Accepted' | 'Synced', string, RegExp][] = [
    [{ kind: 'missing', key }, 'Accepted', 'SchemaNotFound', /no Schema shop\/order: create it/],
    [
      { kind: 'elsewhere', key, clusterKey: 'infra/other' },
      ...(['Accepted', 'SchemaElsewhere', /on infra\/other, not on infra\/main/] as const),
    ],
    [
      { kind: 'no-version', key, version: 3 },
      ...(['Accepted', 'SchemaVersionNotFound', /has no version 3: add it/] as const),
    ],
    [{ kind: 'pending', key }, 'Synced', 'SchemaNotReady', /kubectl -n shop describe schema order/],
  ];

  test.each(views)(
    'that is %j is not declared, and says which and what to do, once',
    (schema, of, reason, words) => {
      const first = planOf(anObject(), aWorld({ schema }));
      expect([first.does, first.plan.finalizer, first.plan.requeueAfterMs]).toEqual([
        [],
        undefined,
        undefined,
      ]);
      expect(first.shown).toContain(`${of}=False/${reason}`);
      expect(first.shown).toContain(`Ready=False/${reason}`);
      expect(messageOf({ status: statusOf(first) }, of)).toMatch(words);
      expect(first.plan.events?.map((event) => event.reason)).toEqual([reason]);
      const again = planOf(anObject({}, { status: statusOf(first) }), aWorld({ schema }));
      expect([again.plan.events, again.plan.status]).toEqual([undefined, first.plan.status]);
    },
  );

  test('is declared once it is in force', () => {
    expect(planOf(anObject(), aWorld({ schema: { kind: 'in-force' } })).does).toEqual(['declare']);
  });

  test('goes on as it is while a schema that it has used is not in force', () => {
    const facts = { ...FACTS, isOurs: true };
    const { does, shown } = planOf(
      aSynced(),
      aWorld({ facts, isAsDeclared: true, schema: { kind: 'pending', key } }),
    );
    expect([does, shown?.[2]]).toEqual([[], 'Ready=True/Ready']);
  });

  test('can be used as it was when its schema is gone all the same', () => {
    const facts = { ...FACTS, isOurs: true };
    const { shown } = planOf(aSynced(), aWorld({ facts, schema: { kind: 'missing', key } }));
    expect(shown).toEqual([
      ...['Accepted=False/SchemaNotFound', 'Synced=False/SchemaNotFound', 'Ready=True/SchemaNotFound'],
    ]);
  });

  test('is told of the cluster first, which is to be had before a schema on it', () => {
    const world = aWorld({ view: { kind: 'unknown' }, schema: { kind: 'missing', key } });
    expect(planOf(anObject(), world).shown?.[0]).toBe('Accepted=False/ClusterNotFound');
  });
});

describe('a schema', () => {
  const facts = { always: { users: 2 }, figures: undefined, oldestReadyAtMs: 0, scaling: undefined };
  const declaration = {
    result: 'created',
    changes: [],
    drifted: false,
    effective: { compatibility: 'Backward' },
  };
  const world = (more: Partial<World> = {}) =>
    aWorld({ facts: { ...facts, isOurs: true, isListed: true }, ...more });

  test('says which version is in force and who uses it, and nothing of scaling or figures', () => {
    const verdict = { kind: 'synced', declaration: { ...declaration, latestVersion: 3 } } as const;
    const status = verdictStatus(anObject(), world(), verdict, NOW);
    expect(status).toMatchObject({ users: 2, latestVersion: 3, effective: { compatibility: 'Backward' } });
    expect(status.conditions?.map(({ type }) => type)).toEqual(['Accepted', 'Synced', 'Ready', 'Drifted']);
    expect(Object.keys(status)).not.toContain('figures');
  });

  test('that changes a version which is in force is refused, and what is in force stays of use', () => {
    const synced = { kind: 'synced', declaration: { ...declaration, latestVersion: 3 } } as const;
    const before = anObject({}, { status: verdictStatus(anObject(), world(), synced, NOW - 1000) });
    const refused = {
      kind: 'obstacle',
      of: 'Synced',
      reason: 'Refused',
      message: 'IMMUTABLE: version 2',
    } as const;
    const status = verdictStatus(before, world(), refused, NOW);
    expect(status).toMatchObject({ latestVersion: 3 });
    const shown = status.conditions?.map(({ type, status: is, reason }) => `${type}=${is}/${reason}`);
    expect(shown?.slice(1, 3)).toEqual(['Synced=False/Refused', 'Ready=True/Refused']);
  });
});

describe('a version that spec does not have', () => {
  const versions = (...numbers: number[]) => ({
    spec: { versions: numbers.map((version) => ({ version })) },
  });
  const facts = { ...FACTS, scaling: undefined };
  const inForce = (latestVersion: number): Declaration => ({
    ...{ result: 'unchanged', changes: [], drifted: false, effective: {}, latestVersion },
  });
  const driftOf = (object: DeclaredObject, declaration: Declaration | undefined) => {
    const status = verdictStatus(object, aWorld({ facts }), { kind: 'synced', declaration }, NOW);
    return { status, drifted: status.conditions?.find(({ type }) => type === 'Drifted') };
  };

  test('is shown for as long as it is so, and not as set back', () => {
    const { status, drifted } = driftOf(anObject({}, versions(1)), inForce(2));
    expect(drifted).toMatchObject({
      status: 'True',
      reason: 'NotInSpec',
      message: expect.stringMatching(/^version 2 is/),
    });
    expect(driftOf(anObject({}, { ...versions(1), status }), undefined).drifted).toEqual(drifted);
    const added = driftOf(anObject({}, { ...versions(1, 2), status }), undefined).drifted;
    expect(added).toMatchObject({ status: 'False', reason: 'AsDeclared' });
  });
});

describe('a schema that is being deleted', () => {
  const users = ['Queue shop/emails', 'Stream shop/orders'];
  const deleted = (agoMs: number, status?: DeclaredObject['status']) =>
    anObject({ deletionTimestamp: at(-agoMs), finalizers: [FINALIZER] }, status && { status });
  const ours = aWorld({ facts: { ...FACTS, isOurs: true } });

  test('is held by who refers to it, says who, and is of use until then', () => {
    const { plan, does, shown } = planOf(deleted(1e7, aSynced().status), { ...ours, users });
    expect([plan.finalizer, does, plan.requeueAfterMs]).toEqual([undefined, [], undefined]);
    expect(shown).toEqual(['Accepted=True/Accepted', 'Synced=False/InUse', 'Ready=True/InUse']);
    const { status } = plan as { status: DeclaredObject['status'] };
    expect(messageOf({ status }, 'Synced')).toMatch(/Queue shop\/emails, Stream shop\/orders; delete them/);
    expect(plan.events?.map(({ reason }) => reason)).toEqual(['InUse']);
    expect(planOf(deleted(1e7, status), { ...ours, users }).plan.events).toBeUndefined();
  });

  test.each(['unknown', 'denied', 'terminating', 'stopped'] as const)(
    'is held by nobody where the cluster is %s',
    (kind) => {
      expect(planOf(deleted(0), { ...ours, users, view: { kind } }).plan.finalizer).toBe('off');
    },
  );

  test('has its time from the end of the hold on, however long that was', () => {
    const held = statusOf(planOf(deleted(1e7, aSynced().status), { ...ours, users }));
    const freed = planOf(deleted(1e7, held), ours);
    expect([freed.does, freed.plan.finalizer]).toEqual([['remove'], 'off']);
    const away = planOf(deleted(1e7, held), { ...ours, plane: 'down' });
    expect([away.plan.finalizer, away.plan.requeueAfterMs]).toEqual([undefined, 60_000]);
    expect(away.shown?.[1]).toBe('Synced=Unknown/Deleting');
    const since = (ms: number) => {
      const { conditions = [], ...rest } = statusOf(away);
      const moved = conditions.map((each) => ({ ...each, lastTransitionTime: at(-ms) }));
      return planOf(deleted(1e7, { ...rest, conditions: moved }), { ...ours, plane: 'down' }).plan;
    };
    expect(since(20_000)).toMatchObject({ requeueAfterMs: 40_000 });
    expect(since(20_000).finalizer).toBeUndefined();
    expect(since(60_000).finalizer).toBe('off');
  });
});
