// The webhook as a part of the operator, before a fake API server: who makes the certificate, who presents
// it, and what is written when.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { trustedIn } from '../../../operator/admission/certificate.ts';
import { startWebhook } from '../../../operator/admission/webhook.ts';
import type { Credentials } from '../../../operator/kube/credentials.ts';
import { type RunningOperator, startOperator } from '../../../operator/operator.ts';
import { readOptions } from '../../../operator/options.ts';
import { readBundle } from '../../../operator/resources/certificate-plan.ts';
import { realKeys } from '../../../operator/resources/key-source.ts';
import type { Runtime } from '../../../operator/runtime.ts';
import type { Secret } from '../../../operator/serving/certificate.ts';
import { FakeApi, type SeenRequest } from '../kube/fake-api.ts';
import { fastRuntime, testLog, until } from '../kube/support.ts';
import { BAD, post, reviewOf } from './support.ts';

const CONFIGURATIONS = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
const CONFIGURATION = `${CONFIGURATIONS}/fm-webhook`;
const SECRETS = '/api/v1/namespaces/ops/secrets';
const SECRET = `${SECRETS}/fm-webhook-tls`;
const DAY_MS = 86_400_000;

let api: FakeApi;
const running: RunningOperator[] = [];
/** What the operators take for the time. */
let wallMs = Date.now();

beforeEach(async () => {
  api = await FakeApi.start();
  wallMs = Date.now();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()));
  await api.close();
});

const runtime: Runtime = { ...fastRuntime, wallMs: () => wallMs };

async function start(name: string, ...flags: string[]) {
  const log = testLog();
  const credentials: Credentials = {
    ...{ server: api.url, namespace: 'ops', forget() {} },
    access: async () => ({ headers: {}, tls: {} }),
  };
  // Without a lease to lose: a busy machine and a fast clock are too slow for it.
  const always = ['--metrics-address', '127.0.0.1:0', '--probe-address', '127.0.0.1:0'];
  if (name !== 'standby') always.push('--leader-elect', 'false');
  const operator = await startOperator({
    options: readOptions([...always, '--webhook-service', 'fm-webhook', ...flags], {}, name),
    ...{ credentials, runtime, log, version: 'test', identity: name, controllers: [] },
    services: [
      async (host, { clusterDomain, webhookService: service }, { registry, namespace }) => ({
        name: 'webhook',
        ...(await startWebhook(host, {
          ...{ address: { host: '127.0.0.1', port: 0 }, keys: realKeys, registry },
          place: { namespace, service, clusterDomain },
          times: { settleMs: 3_000, aloneMs: 9_000, leavingMs: 30_000 },
        })),
      }),
    ],
  });
  running.push(operator);
  const port = operator.services[0]?.port ?? 0;
  const ask = (path: string, from = operator.probePort) =>
    fetch(`http://127.0.0.1:${from}${path}`).then(async (each) => `${each.status} ${await each.text()}`);
  const said = (event: string) => log.lines.filter((line) => line.event === event);
  return { operator, port, ask, said, ready: () => ask('/readyz') };
}

const secret = () => api.get(SECRET) as Secret | undefined;
const textOf = (key: string) => Buffer.from(secret()?.data?.[key] ?? '', 'base64').toString();
const bundles = () => trustedIn(api.get(CONFIGURATION) as never);
const configure = () =>
  api.put(CONFIGURATIONS, {
    metadata: { name: 'fm-webhook', uid: 'c1' },
    webhooks: [{ name: 'validate.flowmesh.io' }],
  } as never);
/** As the API server does it: whom it trusts is in the configuration. */
const judge = (port: number, spec: object) => post({ port, ca: bundles()[0] ?? '' }, reviewOf(spec));
const isTrusted = async (port: number) =>
  judge(port, {}).then(
    ({ status }) => status === 200,
    () => false,
  );
const serialNow = () => readBundle(textOf('tls.crt'))[0]?.serialNumber;
const writes = () =>
  api.requests.filter(({ method, path }) => method !== 'GET' && !path.includes('/leases')).length;

test('[W1, W3] the leader makes and publishes the certificate; ready is who has it', async () => {
  configure();
  const { operator, port, ready, ask } = await start('a');
  await operator.leading;
  await until('the configuration trusts it', () => bundles()[0] !== undefined && bundles()[0] !== '');
  await until('it is ready', () => operator.services[0]?.obstacle() === undefined);
  expect(await ready()).toBe('200 ok\n');
  const { body } = await judge(port, BAD);
  expect(JSON.parse(body).response).toMatchObject({ allowed: false, status: { code: 422 } });
  expect(bundles()).toEqual([textOf('ca.crt')]);
  const metrics = await ask('/metrics', operator.metricsPort);
  expect(metrics).toContain('controller_runtime_webhook_requests_total{webhook="/validate",code="200"} 1');
  expect(metrics).toContain('flowmesh_operator_webhook_decisions_total{kind="Queue",verdict="refused"} 1');
  const [, notAfter] = /expiration_timestamp_seconds (\d+)/.exec(metrics) ?? [];
  expect(Number(notAfter) * 1000 - wallMs).toBeGreaterThan(89 * DAY_MS);
});

test('[W1] at rest nothing is written; a bundle that others change is set back', async () => {
  configure();
  const { operator, port } = await start('a');
  await operator.leading;
  await until('it is served', () => operator.services[0]?.obstacle() === undefined && bundles()[0] !== '');
  const before = writes();
  // Two resyncs of the fast clock, counted by the reconciles that they cause.
  const reconciles = async () => {
    const text = await (await fetch(`http://127.0.0.1:${operator.metricsPort}/metrics`)).text();
    const found = text.matchAll(
      /controller_runtime_reconcile_total\{controller="webhook",result="\w+"\} (\d+)/g,
    );
    return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const then = await reconciles();
  await expect.poll(reconciles, { timeout: 20_000 }).toBeGreaterThan(then + 1);
  expect(writes()).toBe(before);
  const [wanted] = bundles();
  configure();
  await until('it is set back', () => bundles()[0] === wanted);
  expect(await isTrusted(port)).toBe(true);
});

test('[W1] a certificate that is due is renewed in time, and presented without a restart', async () => {
  configure();
  const { operator, port, said } = await start('a');
  await operator.leading;
  await until('it presents one', () => said('webhook.certificate-presented').length === 1);
  await until('it is trusted', () => bundles()[0] !== '');
  const [first, wasTrusted] = [serialNow(), bundles()[0]];
  // The clock of a handshake is the real one: what is issued now has to be valid now.
  wallMs += 61 * DAY_MS;
  await until('it is renewed', () => serialNow() !== first);
  await until('it is presented', () => said('webhook.certificate-presented').length === 2);
  expect(bundles()[0]).toBe(wasTrusted);
  expect(said('webhook.certificate-kept').at(-1)).toMatchObject({
    reasons: ['the certificate has used up two thirds of its time'],
  });
  expect(port).toBe(operator.services[0]?.port);
});

test('[C2] a Secret that somebody deletes is made anew, without a request that fails', async () => {
  configure();
  const { operator, port, said } = await start('a');
  await operator.leading;
  await until('it is trusted', () => bundles()[0] !== '' && operator.services[0]?.obstacle() === undefined);
  const first = serialNow();
  let isOver = false;
  const failures: string[] = [];
  const asking = (async () => {
    while (!isOver)
      if (!(await isTrusted(port))) failures.push(`after ${said('webhook.certificate-kept').length}`);
  })();
  // Between the two writes lies what may be an hour.
  for (let time = 0; time < 9; time++) {
    const match = ({ method, path }: SeenRequest) => method === 'PATCH' && path === CONFIGURATION;
    api.faults.push({ match, answer: { status: 500 } });
  }
  api.remove(SECRET);
  await until('it is made anew', () => serialNow() !== first && serialNow() !== undefined);
  await until('it is presented', () => said('webhook.certificate-presented').length === 2, 20_000);
  await until('it is published', () => readBundle(bundles()[0]).length === 2, 20_000);
  isOver = true;
  await asking;
  expect(failures).toEqual([]);
  expect(await isTrusted(port)).toBe(true);
});

test('[W2] a standby serves what the leader made, and makes it itself where nobody does', async () => {
  // The old version leads, and knows nothing of a webhook.
  api.put('/apis/coordination.k8s.io/v1/namespaces/ops/leases', {
    metadata: { name: 'flowmesh-operator' },
    spec: { holderIdentity: 'old', leaseDurationSeconds: 1_000_000, renewTime: new Date().toISOString() },
  } as never);
  configure();
  const { operator, ready, said, port } = await start('standby');
  await until('every kind is listed', () => operator.host.isSynced);
  expect(await ready()).toBe(
    '503 the webhook has no certificate: see Secret ops/fm-webhook-tls and the log of who leads\n',
  );
  await until('it is ready', () => operator.services[0]?.obstacle() === undefined, 20_000);
  expect(said('leader.acquired')).toEqual([]);
  // Only who leads writes the configuration.
  expect(bundles()).toEqual(['']);
  const another = await start('standby');
  await until('it is ready as well', () => another.operator.services[0]?.obstacle() === undefined);
  expect(said('webhook.certificate-kept')).toHaveLength(1);
  expect(another.said('webhook.certificate-kept')).toEqual([]);
  for (const each of [port, another.port]) {
    expect((await post({ port: each, ca: textOf('ca.crt') }, reviewOf({}))).status).toBe(200);
  }
});

test('[C4] a Secret of somebody else keeps it from being ready, and is told', async () => {
  api.put(SECRETS, { metadata: { name: 'fm-webhook-tls' }, data: { 'tls.crt': 'eA==' } } as never);
  const { operator, said, ready } = await start('a');
  await operator.leading;
  await until('it is told', () => said('reconcile.refused').length > 0);
  expect(String(said('reconcile.refused')[0]?.err)).toContain("is not the operator's: delete or rename it");
  expect(await ready()).toMatch(/^503 the webhook has no certificate/);
  expect(secret()?.data).toEqual({ 'tls.crt': 'eA==' });
});

test('an entry that is not there is not made, and neither is a configuration', async () => {
  api.put(CONFIGURATIONS, { metadata: { name: 'fm-webhook', uid: 'c1' }, webhooks: [] } as never);
  const { operator } = await start('a');
  await operator.leading;
  await until('it is ready', () => operator.services[0]?.obstacle() === undefined);
  expect(writes()).toBe(1);
  api.remove(CONFIGURATION);
  api.remove(SECRET);
  await until('the Secret is made anew', () => serialNow() !== undefined);
  expect(writes()).toBe(2);
  expect(api.get(CONFIGURATION)).toBeUndefined();
});

test('[W4] it is not ready as soon as it stops, and serves until it ends', async () => {
  configure();
  const { operator, port, ready } = await start('a');
  await operator.leading;
  await until('it is trusted', () => bundles()[0] !== '' && operator.services[0]?.obstacle() === undefined);
  const ca = bundles()[0] ?? '';
  const stopping = operator.stop();
  expect(await ready()).toBe('503 it is stopping\n');
  const { status, headers } = await post({ port, ca }, reviewOf({}));
  expect([status, headers['connection']]).toEqual([200, 'close']);
  await stopping;
  await expect(post({ port, ca }, reviewOf({}))).rejects.toThrow('ECONNREFUSED');
});
