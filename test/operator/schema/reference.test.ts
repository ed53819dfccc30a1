// Which Schema a queue or stream names and whether it may use it, and what of a change concerns the other.
import { describe, expect, test } from 'vitest';
import type { SchemaObject } from '../../../operator/controllers/schema/kind.ts';
import {
  concernsSchemas,
  concernsUsers,
  usedSchemas,
  usersText,
  viewSchema,
} from '../../../operator/controllers/schema/reference.ts';
import { anObject } from '../declared-builders.ts';

interface Given {
  clusterRef?: { name: string; namespace?: string };
  versions?: number[];
  latestVersion?: number;
  ready?: 'True' | 'False' | 'Unknown';
  users?: number;
}

function aSchema({ clusterRef, versions = [1, 2], latestVersion = 2, ready = 'True', users }: Given = {}) {
  const condition = { type: 'Ready', status: ready, reason: 'X', message: '', lastTransitionTime: '' };
  return {
    metadata: { name: 'order', namespace: 'shop', uid: 's1' },
    spec: {
      ...(clusterRef && { clusterRef }),
      versions: versions.map((version) => ({ version, fields: {} })),
    },
    status: {
      conditions: [condition],
      ...(latestVersion > 0 && { latestVersion }),
      ...(users !== undefined && { users }),
    },
  } as SchemaObject;
}

const aUser = (schemaRef?: { name: string; version?: number }, clusterRef?: { name: string }) =>
  anObject({}, { spec: { ...(schemaRef && { schemaRef }), ...(clusterRef && { clusterRef }) } });

const viewOf = (user: ReturnType<typeof aUser>, schema?: SchemaObject) =>
  viewSchema(user, (key) => (key === 'shop/order' ? schema : undefined));

describe('the schema of a queue or stream', () => {
  const named = { name: 'order' };

  test('is none, or in its own namespace', () => {
    expect(viewOf(aUser(), aSchema())).toEqual({ kind: 'unneeded' });
    expect(viewOf(aUser(named))).toEqual({ kind: 'missing', key: 'shop/order' });
  });

  test('must be on its cluster, whichever way both say it', () => {
    const elsewhere = { kind: 'elsewhere', key: 'shop/order', clusterKey: 'shop/other' };
    expect(viewOf(aUser(named), aSchema({ clusterRef: { name: 'other' } }))).toEqual(elsewhere);
    expect(viewOf(aUser(named, { name: 'other' }), aSchema()).kind).toBe('elsewhere');
    const inFull = aSchema({ clusterRef: { name: 'main', namespace: 'shop' } });
    expect(viewOf(aUser(named), inFull).kind).toBe('in-force');
  });

  test.each([
    ['in force', {}, undefined, 'in-force'],
    ['in force in that version', {}, 1, 'in-force'],
    ['without that version', {}, 3, 'no-version'],
    ['never declared', { latestVersion: 0 }, undefined, 'pending'],
    ['declared before that version was added', { latestVersion: 1 }, 2, 'pending'],
    [
      'declared before versions were added, for who takes the newest',
      { latestVersion: 1 },
      undefined,
      'in-force',
    ],
    ['of a cluster that is gone', { ready: 'False' }, undefined, 'pending'],
    ['of a data plane that is away', { ready: 'Unknown' }, undefined, 'in-force'],
  ] as const)('%s', (_, given, version, kind) => {
    const user = aUser({ ...named, ...(version && { version }) });
    expect(viewOf(user, aSchema(given as Given)).kind).toBe(kind);
  });
});

describe('a change', () => {
  const schemaChange = (before: Given, after: Given) =>
    concernsUsers({ kind: 'updated', key: '', before: aSchema(before), object: aSchema(after) });

  test('of a schema concerns its users where they read it, and not when it has one more of them', () => {
    expect(schemaChange({ users: 1 }, { users: 2 })).toBe(false);
    expect(schemaChange({ latestVersion: 0 }, { latestVersion: 1 })).toBe(true);
    expect(schemaChange({ versions: [1] }, { versions: [1, 2] })).toBe(true);
    expect(schemaChange({ ready: 'False' }, { ready: 'True' })).toBe(true);
    expect(concernsUsers({ kind: 'deleted', key: '', object: aSchema() })).toBe(true);
  });

  test('of a user concerns a schema when it names another one, or comes or goes', () => {
    const change = (before: string, after: string) =>
      concernsSchemas({
        ...{ kind: 'updated', key: '' },
        ...{ before: aUser({ name: before }), object: aUser({ name: after }) },
      });
    expect([change('order', 'order'), change('order', 'bill')]).toEqual([false, true]);
    expect(concernsSchemas({ kind: 'deleted', key: '', object: aUser() })).toBe(true);
  });

  test('of a user from one schema to another frees the first when the data plane has it so', () => {
    const withStatus = (spec: string | undefined, inForce: string | undefined) => ({
      ...aUser(spec === undefined ? undefined : { name: spec }),
      ...(inForce && { status: { effective: { schemaRef: { name: inForce } } } }),
    });
    const uses = (spec: string | undefined, inForce: string | undefined) =>
      usedSchemas(withStatus(spec, inForce));
    expect(uses(undefined, undefined)).toEqual([]);
    expect(uses('order', undefined)).toEqual(['shop/order']);
    expect(uses('order', 'order')).toEqual(['shop/order']);
    expect(uses('bill', 'order')).toEqual(['shop/bill', 'shop/order']);
    expect(uses(undefined, 'order')).toEqual(['shop/order']);
    const [before, object] = [withStatus(undefined, 'order'), withStatus(undefined, undefined)];
    expect(concernsSchemas({ kind: 'updated', key: '', before, object })).toBe(true);
  });
});

test('users are named, in an order that stays, and not all of them', () => {
  expect(usersText(['Stream shop/b', 'Queue shop/a'])).toBe('Queue shop/a, Stream shop/b');
  expect(usersText(['Q d', 'Q c', 'Q b', 'Q a', 'Q e'])).toBe('Q a, Q b, Q c and 2 more');
});
