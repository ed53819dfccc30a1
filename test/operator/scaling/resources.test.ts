// What is made to scale a workload, as committed in renders/; and what its names and certificates
// promise.
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { renewCertificates, renewClient } from '../../../operator/resources/certificates.ts';
import { realKeys } from '../../../operator/resources/key-source.ts';
import {
  autoscaler,
  labelValue,
  metricLabels,
  quantity,
} from '../../../operator/resources/scaling/autoscaler.ts';
import { scaledObject } from '../../../operator/resources/scaling/scaled-object.ts';
import {
  accessCertificate,
  accessName,
  accessSecret,
  SCALER,
  triggerAuthentication,
} from '../../../operator/resources/scaling/scaler-access.ts';
import { nameOfScaler, type ScalingTarget } from '../../../operator/resources/scaling/target.ts';
import { schemaProblems } from '../kubernetes-schema.ts';
import { aResolved, aTarget } from './builders.ts';

const GROUP = aTarget({
  owner: { kind: 'Stream', name: 'orders', namespace: 'shop', uid: 'u2' },
  subject: { stream: 'orders.events', group: 'billing' },
  ...{ from: 0, to: 12, lagMax: 0 },
});
const LONG = aTarget({
  owner: { kind: 'Queue', name: `${'very-'.repeat(20)}long`, namespace: 'shop', uid: 'u3' },
  subject: { queue: '{shop}:emails' },
});
const FOREIGN_TLS = aResolved({
  tls: { mode: 'CertManager', issuerRef: { name: 'ca', kind: 'ClusterIssuer' } },
});
const yaml = (values: readonly unknown[]) =>
  values.map((value) => stringify(value, { lineWidth: 0, aliasDuplicateObjects: false })).join('---\n');

const RENDERS: Readonly<Record<string, () => unknown[]>> = {
  'queue-by-keda': () => [
    accessSecret(aResolved(), [aTarget().owner], { 'ca.crt': '', 'tls.crt': '', 'tls.key': '' }),
    triggerAuthentication(aResolved(), [aTarget().owner, GROUP.owner]),
    scaledObject(aTarget(), aResolved()),
  ],
  'group-from-zero-by-keda': () => [scaledObject(GROUP, aResolved({}, 'shop'))],
  'cert-manager-by-keda': () => [accessCertificate(FOREIGN_TLS, [aTarget().owner])],
  'queue-by-autoscaler': () => [autoscaler(aTarget(), 'main')],
  'group-from-zero-by-autoscaler': () => [autoscaler(GROUP, 'main')],
  'long-names-by-autoscaler': () => [autoscaler(LONG, 'main')],
};

test.each(Object.entries(RENDERS))('renders %s as committed', async (name, render) => {
  const file = join(import.meta.dirname, 'renders', `${name}.yaml`);
  await expect(yaml(render())).toMatchFileSnapshot(file);
});

test('autoscalers and Secrets are what the API server takes', async () => {
  for (const target of [aTarget(), GROUP, LONG])
    expect(await schemaProblems(autoscaler(target, 'main') as never)).toEqual([]);
  expect(await schemaProblems(accessSecret(aResolved(), [aTarget().owner], {}) as never)).toEqual([]);
});

const objectName = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,40})?$/);
const servedName = fc.stringMatching(/^[A-Za-z0-9._:{}-]{1,255}$/);

describe('names', () => {
  const targetOf = (name: string, group?: string): ScalingTarget =>
    aTarget({
      owner: { ...aTarget().owner, kind: group === undefined ? 'Queue' : 'Stream', name },
      subject: group === undefined ? { queue: name } : { stream: name, group },
    });

  test('T1 fit for KEDA, whatever the object is called, and none is another one', () => {
    fc.assert(
      fc.property(fc.uniqueArray(objectName, { minLength: 2, maxLength: 8 }), servedName, (names, group) => {
        const made = names.flatMap((name) => [
          nameOfScaler(targetOf(name)),
          nameOfScaler(targetOf(name, group)),
        ]);
        for (const name of made) {
          expect(name).toMatch(/^[a-z]([-a-z0-9]*[a-z0-9])?$/);
          expect(`keda-hpa-${name}`.length).toBeLessThanOrEqual(63);
        }
        expect(new Set(made).size).toBe(made.length);
      }),
    );
  });

  test('T1 stream a-b with group c is not stream a with group b-c', () => {
    expect(nameOfScaler(targetOf('a-b', 'c'))).not.toBe(nameOfScaler(targetOf('a', 'b-c')));
  });

  test('of the access say the cluster, and which one of two namespaces', () => {
    const here = { ...aResolved({}, 'shop') };
    expect(accessName(here, 'shop')).toBe('main-flowmesh-scaler');
    const names = ['a', 'b'].map((namespace) => accessName(aResolved({}, namespace), 'shop'));
    expect(new Set([...names, 'main-flowmesh-scaler']).size).toBe(3);
  });
});

describe('H1 labels of metrics', () => {
  test('are values that the API server takes, one for each name', () => {
    fc.assert(
      fc.property(servedName, (name) => {
        expect(labelValue(name)).toMatch(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/);
      }),
    );
    expect(metricLabels({ queue: '{a}' }, 'main')).not.toEqual(metricLabels({ queue: '{b}' }, 'main'));
    expect(metricLabels({ queue: 'a' }, 'main')).toEqual({ queue: 'a', cluster: 'main' });
  });

  test.each([
    [5000, '5000'],
    [0.5, '500m'],
    [3333.3333, '3333333m'],
    [-1, '0'],
  ])('%d is the quantity %s', (value, text) => expect(quantity(value)).toBe(text));
});

describe('the certificate of the scaler', () => {
  const nowMs = Date.parse('2026-11-26T12:00:00Z');
  const DAY_MS = 86_400_000;
  const cluster = renewCertificates({ name: 'main', nowMs, names: ['main-flowmesh'] }, realKeys);
  const client = (input: object = {}) =>
    renewClient({ name: SCALER, nowMs, authority: cluster.authority, ...input }, realKeys);

  test('is of the authority of the cluster, calls itself so and serves nobody', () => {
    const made = client();
    const certificate = new X509Certificate(made?.leaf['tls.crt'] ?? '');
    expect(certificate.subject).toBe('CN=flowmesh-scaler');
    expect(certificate.verify(new X509Certificate(cluster.authority['tls.crt'] ?? '').publicKey)).toBe(true);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.subjectAltName).toBeUndefined();
    expect(made?.leaf['ca.crt']).toBe(cluster.authority['ca.crt']);
  });

  test('stays until two thirds of its life, then is another one', () => {
    const leaf = client()?.leaf;
    const at = (days: number) => client({ leaf, nowMs: nowMs + days * DAY_MS })?.hasChanged;
    expect([at(0), at(59), at(60), at(120)]).toEqual([false, false, true, true]);
  });

  test('is made anew for another authority, another name, or when it is damaged', () => {
    const other = renewCertificates({ name: 'main', nowMs, names: ['x'] }, realKeys);
    expect(client({ leaf: client()?.leaf, authority: other.authority })?.hasChanged).toBe(true);
    expect(client({ leaf: cluster.leaf })?.hasChanged).toBe(true);
    expect(client({ leaf: { ...client()?.leaf, 'tls.key': 'x' } })?.hasChanged).toBe(true);
  });

  test('waits for an authority that can sign', () => {
    expect(client({ authority: undefined })).toBeUndefined();
    expect(client({ authority: { 'tls.crt': 'x', 'tls.key': 'y', 'ca.crt': 'z' } })).toBeUndefined();
    expect(client({ nowMs: nowMs + 4000 * DAY_MS })).toBeUndefined();
  });
});
