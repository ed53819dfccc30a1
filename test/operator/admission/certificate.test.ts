// What is due with the webhook's Secret and configuration, over their life, and what of it is presented when.
import { expect, test } from 'vitest';
import { type Configuration, inConfiguration, trustedIn } from '../../../operator/admission/certificate.ts';
import { namesOf as namesIn, readBundle } from '../../../operator/resources/certificate-plan.ts';
import { realKeys } from '../../../operator/resources/key-source.ts';
import {
  dueSecret,
  type FoundSecret,
  leafIn,
  namesOf,
  type Secret,
  secretNameOf,
} from '../../../operator/serving/certificate.ts';
import { Presenter } from '../../../operator/serving/presenter.ts';
import { TestRuntime, testLog } from '../kube/support.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 10, 26);
const PLACE = { namespace: 'ops', service: 'fm-webhook', clusterDomain: 'cluster.local' };

const aConfiguration = (...bundles: (string | undefined)[]): Configuration => ({
  metadata: { name: 'fm-webhook', uid: 'c1' },
  webhooks: bundles.map((bundle, index) => ({
    name: `v${index}.flowmesh.io`,
    clientConfig: bundle === undefined ? {} : { caBundle: Buffer.from(bundle).toString('base64') },
  })),
});

type Found = Omit<FoundSecret, 'owner'> & { readonly configuration: Configuration | undefined };
const ENTRY = inConfiguration(PLACE);

async function due(found: Partial<Found>) {
  const { configuration, ...of } = { secret: undefined, presented: undefined, nowMs: START_MS, ...found };
  const owner = await ENTRY.owner(configuration, new AbortController().signal);
  const { bundle, ...what } = dueSecret({ ...of, owner }, { name: 'webhook', place: PLACE }, realKeys);
  return { ...what, configuration: ENTRY.wanted(configuration, bundle, owner) };
}

/** As the API server has it after both were applied. */
async function settle(found: Partial<Found>) {
  const { secret, configuration, renewAtMs, reasons } = await due(found);
  const now = {
    secret: secret ?? found.secret,
    configuration: found.configuration && { ...found.configuration, ...configuration },
  };
  if (configuration !== undefined)
    now.configuration = { ...found.configuration, ...configuration } as Configuration;
  if (now.configuration !== undefined) now.configuration.metadata = { name: 'fm-webhook', uid: 'c1' };
  return { now: now as { secret: Secret; configuration: Configuration }, renewAtMs, reasons };
}

test('nothing there: one Secret with key, certificate and authority, and every entry trusts it', async () => {
  const { secret, configuration } = await due({ configuration: aConfiguration(undefined, 'junk') });
  expect(secret?.metadata).toMatchObject({
    ...{ name: secretNameOf(PLACE), namespace: 'ops' },
    labels: { 'app.kubernetes.io/managed-by': 'flowmesh-operator' },
    ownerReferences: [{ kind: 'ValidatingWebhookConfiguration', name: 'fm-webhook', uid: 'c1' }],
  });
  expect(Object.keys(secret?.data ?? {}).sort()).toEqual([
    ...['authority.crt', 'authority.key', 'ca.crt', 'tls.crt', 'tls.key'],
  ]);
  const leaf = leafIn(secret as Secret);
  const [certificate] = readBundle(leaf['tls.crt']);
  expect(certificate && namesIn(certificate)).toEqual(new Set(namesOf(PLACE)));
  expect(certificate?.checkHost('fm-webhook.ops.svc')).toBeDefined();
  expect(certificate?.checkIP('127.0.0.1')).toBeDefined();
  expect(trustedIn(configuration)).toEqual([leaf['ca.crt'], leaf['ca.crt']]);
  expect(configuration).toEqual({
    metadata: { name: 'fm-webhook' },
    webhooks: ['v0.flowmesh.io', 'v1.flowmesh.io'].map((name) => ({
      ...{ name, clientConfig: { caBundle: expect.any(String) } },
    })),
  });
});

test('as it has to be: nothing is due, until a field is not', async () => {
  const { now } = await settle({ configuration: aConfiguration(undefined) });
  expect(await due(now)).toMatchObject({ secret: undefined, configuration: undefined, reasons: [] });
  expect(await due({ ...now, configuration: undefined })).toMatchObject({
    secret: undefined,
    configuration: undefined,
  });
  const drifted = await due({ ...now, configuration: aConfiguration('other') });
  expect(drifted.secret).toBeUndefined();
  expect(trustedIn(drifted.configuration)).toEqual([leafIn(now.secret)['ca.crt']]);
  // A configuration that was made anew owns the Secret from then on.
  const anew = { ...now.configuration, metadata: { name: 'fm-webhook', uid: 'c2' } };
  const kept = await due({
    ...now,
    secret: { ...now.secret, metadata: { ...now.secret.metadata, resourceVersion: '7' } },
    configuration: anew,
  });
  expect(kept.secret?.metadata).toMatchObject({ resourceVersion: '7', ownerReferences: [{ uid: 'c2' }] });
  expect(kept.secret?.data).toEqual(now.secret.data);
});

test('[C2] a Secret that was deleted is made anew, and what is presented stays trusted', async () => {
  const { now } = await settle({ configuration: aConfiguration(undefined) });
  const presented = leafIn(now.secret);
  const again = await due({ configuration: now.configuration, presented });
  const [old, fresh] = [
    readBundle(presented['tls.crt'])[0],
    readBundle(leafIn(again.secret as Secret)['tls.crt'])[0],
  ];
  const trusted = readBundle(trustedIn(again.configuration)[0]);
  expect(trusted).toHaveLength(2);
  for (const leaf of [old, fresh]) expect(trusted.some((each) => leaf?.verify(each.publicKey))).toBe(true);
});

test('[C3] a Secret of somebody else is left alone', async () => {
  const secret = { metadata: { name: secretNameOf(PLACE) }, data: { 'tls.crt': 'eA==' } };
  await expect(due({ secret })).rejects.toThrow(
    "Secret ops/fm-webhook-tls is not the operator's: delete or rename it",
  );
});

test.each(['tls.crt', 'tls.key', 'authority.crt', 'authority.key', 'ca.crt'])(
  'a damaged %s is repaired',
  async (key) => {
    const { now } = await settle({ configuration: aConfiguration(undefined) });
    const secret = {
      ...now.secret,
      data: { ...now.secret.data, [key]: Buffer.from('x').toString('base64') },
    };
    const repaired = await settle({ ...now, secret });
    expect(repaired.now.secret.data?.[key]).not.toBe(secret.data[key]);
    expect(await due(repaired.now)).toMatchObject({ secret: undefined, configuration: undefined });
  },
);

test('over the whole life of an authority, what a replica presents is trusted before', async () => {
  const runtime = new TestRuntime();
  let wallMs = START_MS;
  runtime.wallMs = () => wallMs;
  const presented: string[] = [];
  const presenter = new Presenter({
    ...{ name: 'webhook', runtime, log: testLog() },
    present: ({ cert }) => presented.push(cert),
  });
  let { now, renewAtMs } = await settle({ configuration: aConfiguration(undefined) });
  presenter.follow(leafIn(now.secret), trustedIn(now.configuration));
  const reasons = new Set<string>();
  let turns = 0;
  for (; renewAtMs < START_MS + 4000 * DAY_MS; turns++) {
    wallMs = renewAtMs;
    const next = await settle({ ...now, nowMs: wallMs, presented: presenter.presented });
    for (const each of next.reasons) reasons.add(each);
    // The worst order: the Secret is seen long before the configuration.
    presenter.follow(leafIn(next.now.secret), trustedIn(now.configuration));
    const bundle = readBundle(trustedIn(now.configuration)[0]);
    const [leaf] = readBundle(presenter.presented?.['tls.crt']);
    expect(bundle.some((each) => leaf?.checkIssued(each) && leaf.verify(each.publicKey))).toBe(true);
    presenter.follow(leafIn(next.now.secret), trustedIn(next.now.configuration));
    runtime.jump(10_000);
    presenter.follow(leafIn(next.now.secret), trustedIn(next.now.configuration));
    expect(presenter.presented).toEqual(leafIn(next.now.secret));
    expect(presenter.isValid).toBe(true);
    ({ now, renewAtMs } = next);
  }
  expect(turns).toBeGreaterThan(60);
  expect([...reasons].filter((each) => each.includes('authorit'))).toEqual([
    'the authority has used up two thirds of its time',
    'the next authority signs from now on',
    'the certificate comes from another authority',
  ]);
});
