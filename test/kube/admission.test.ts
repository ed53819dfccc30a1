// The webhook before a real API server, under the chart's configuration and roles: what it refuses and in
// which words, that nothing depends on it, and that its certificate changes under traffic without a failure.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseManifests } from '../../crds/manifests.ts';
import type { AuditEvent } from '../../e2e/control-plane.ts';
import { until } from '../../e2e/parts/process.ts';
import type { RunningOperator } from '../../operator/operator.ts';
import { PERMISSIONS } from '../../operator/permissions.ts';
import { readBundle } from '../../operator/resources/certificate-plan.ts';
import { kubectl } from './definitions.ts';
import {
  CONFIGURATION,
  DAILY,
  MERGE,
  NEVER,
  QUEUES,
  queue,
  SECRET,
  USER,
  WebhookFleet,
} from './webhook-fleet.ts';

const DAY_MS = 86_400_000;
const APPLY = 'application/apply-patch+yaml';
const BAD = { schedules: [NEVER] };
const FINALIZER = 'example.com/held';

let fleet: WebhookFleet;
let operator: RunningOperator;
const api: WebhookFleet['plane']['api'] = Object.assign(
  (...args: Parameters<WebhookFleet['plane']['api']>) => fleet.plane.api(...args),
  { close() {} },
);
const create = (object: object) => api('POST', QUEUES, object);
const change = (name: string, patch: object) => api('PATCH', `${QUEUES}/${name}`, patch, MERGE);
const remove = (name: string) => api('DELETE', `${QUEUES}/${name}`);
const said = (spec: object) => {
  const [problem] = parseManifests(JSON.stringify(queue('emails', spec)), 'a.json').problems;
  return { field: problem?.field, message: `${problem?.message}; ${problem?.cure}` };
};

beforeAll(async () => {
  fleet = await WebhookFleet.start();
  // An authority has used up two thirds of its ten years when the clock goes on.
  fleet.offMs = -2444 * DAY_MS;
  operator = await fleet.operator();
  await fleet.configure('Fail');
  await until('it is published', async () => (await bundle()).length === 1);
  fleet.offMs = -10 * DAY_MS;
  await fleet.touch();
  await fleet.answers();
});
afterAll(() => fleet?.stop());

async function bundle() {
  const { webhooks } = await fleet.must('GET', CONFIGURATION);
  return readBundle(Buffer.from(webhooks[0].clientConfig.caBundle ?? '', 'base64').toString());
}

describe('with failurePolicy Fail', () => {
  test('a mistake that no definition can express is refused, with field and cure', async () => {
    const { status, body } = await create(queue('emails', BAD));
    const { field, message } = said(BAD);
    expect([status, body.reason]).toEqual([422, 'Invalid']);
    expect(body.message).toBe(
      `admission webhook "validate.flowmesh.io" denied the request: ` +
        `Queue emails is not valid: ${field} ${message}`,
    );
    expect(body.details).toMatchObject({ name: 'emails', group: 'flowmesh.io', kind: 'Queue' });
    expect(body.details.causes).toEqual([{ reason: 'FieldValueInvalid', field, message }]);
    expect((await api('GET', `${QUEUES}/emails`)).status).toBe(404);
  });

  test('kubectl apply says it so that a person can act on it, and warns of what has no effect', async () => {
    const file = join(fleet.plane.dir, 'queue.json');
    const apply = (object: object) => {
      writeFileSync(file, JSON.stringify(object));
      return kubectl(fleet.plane, 'apply', '-f', file);
    };
    const { field, message } = said(BAD);
    const refused = await apply(queue('emails', BAD));
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('The Queue "emails" is invalid');
    expect(refused.err).toContain(`${field}: ${message}`);
    const journal = { engine: 'JetStream', jetStream: { url: 'nats://nats:4222' } };
    const cluster = { kind: 'FlowMeshCluster', metadata: { name: 'warned' }, spec: { journal } };
    const taken = await apply({ apiVersion: 'flowmesh.io/v1alpha1', ...cluster });
    expect(taken.code).toBe(0);
    expect(taken.err).toContain('Warning: spec.journal.engine');
  });

  test('good objects of every kind pass, and the rules of the definitions speak first', async () => {
    expect((await create(queue('good', { schedules: [DAILY] }))).status).toBe(201);
    expect((await change('good', { spec: { schedules: [NEVER] } })).status).toBe(422);
    expect((await change('good', { spec: { limits: { maxDepth: 5 } } })).status).toBe(200);
    const structural = await change('good', { spec: { limits: { ratePerKey: '5/x' } } });
    expect(structural.body.message).not.toContain('admission webhook');
    const named = await create({ ...queue('', BAD), metadata: { generateName: 'made-' } });
    expect(named.body.message).toMatch(/Queue made-\w+ is not valid: spec\.schedules\[0\]\.cron/);
    const made = await create({ ...queue('', {}), metadata: { generateName: 'made-' } });
    expect(made.status).toBe(201);
    const others = {
      streams: { kind: 'Stream', spec: { clusterRef: { name: 'main' }, partitions: 1 } },
      flowmeshclusters: { kind: 'FlowMeshCluster', spec: { replicas: 0 } },
      schemas: {
        kind: 'Schema',
        spec: { clusterRef: { name: 'main' }, versions: [{ version: 1, jsonSchema: { type: 'object' } }] },
      },
    };
    for (const [plural, each] of Object.entries(others)) {
      const object = { apiVersion: 'flowmesh.io/v1alpha1', metadata: { name: 'good' }, ...each };
      const path = QUEUES.replace('queues', plural);
      expect((await api('POST', path, object)).status, plural).toBe(201);
      expect((await api('DELETE', `${path}/good`)).status, plural).toBe(200);
    }
    const wrong = { ...others.schemas, apiVersion: 'flowmesh.io/v1alpha1', metadata: { name: 'bad' } };
    wrong.spec = { ...wrong.spec, versions: [{ version: 1, jsonSchema: { type: 'text' } }] };
    const { body } = await api('POST', QUEUES.replace('queues', 'schemas'), wrong);
    expect(body.details.causes[0].field).toBe('spec.versions[0].jsonSchema.type');
  });

  test('what was wrong before can be changed elsewhere, and loses its finalizer: asked or not', async () => {
    // Nothing is asked, and the object is wrong.
    await fleet.configure('Fail', { rules: [] });
    await until('nobody asks', async () => (await create(queue('wrong', BAD, held))).status === 201);
    // All is asked: the code alone has to let it pass.
    await fleet.configure('Fail', { matchConditions: [] });
    await fleet.answers();
    expect((await change('wrong', { metadata: { labels: { a: 'b' } } })).status).toBe(200);
    expect((await change('wrong', { spec: { limits: { maxDepth: 5 } } })).status).toBe(200);
    expect((await change('wrong', { spec: { schedules: [{ ...NEVER, cron: '0 25 * * *' }] } })).status).toBe(
      422,
    );
    expect((await remove('wrong')).status).toBe(200);
    expect((await change('wrong', { metadata: { finalizers: null } })).status).toBe(200);
    expect((await api('GET', `${QUEUES}/wrong`)).status).toBe(404);
    await fleet.configure('Fail');
  });
});

const held = { finalizers: [FINALIZER] };

test('others take the bundle away, and it is back at once; at rest nothing is written', async () => {
  const before = await bundle();
  const stranger = readFileSync(fleet.plane.pki.caFile).toString('base64');
  const path = '/webhooks/0/clientConfig/caBundle';
  const drift = async () => {
    const op = { op: 'replace', path, value: stranger };
    await fleet.must('PATCH', CONFIGURATION, [op], 'application/json-patch+json');
    await until('it is set back', async () => {
      const now = await bundle();
      return now[0]?.fingerprint256 === before[0]?.fingerprint256 && now.length === before.length;
    });
  };
  await drift();
  await fleet.answers();
  // A conflict with who drifted changes nothing: what follows it does.
  const writes = () => {
    const isOne = ({ user, verb, objectRef, responseStatus }: AuditEvent) =>
      user.username === USER && verb === 'patch' && isOurs(objectRef) && responseStatus?.code === 200;
    return fleet.plane.auditEvents().filter(isOne).length;
  };
  const count = writes();
  const { resourceVersion } = (await fleet.must('GET', SECRET)).metadata;
  for (let n = 0; n < 20; n++) await create(queue('rest', BAD));
  for (let n = 0; n < 5; n++) await fleet.touch();
  // One after the other: when this is repaired, all that was before has been looked at.
  await drift();
  await until('it is in the log', async () => writes() > count);
  expect(writes()).toBe(count + 1);
  expect((await fleet.must('GET', SECRET)).metadata.resourceVersion).toBe(resourceVersion);
});

const isOurs = (at?: { resource: string }) =>
  ['secrets', 'validatingwebhookconfigurations'].includes(at?.resource ?? '');

describe('under continuous applies', () => {
  /** One after the other: good ones that change the spec, a bad one now and then, fresh handshakes. */
  function traffic(name: string) {
    const seen = { good: 0, bad: 0, failures: [] as string[] };
    let isOver = false;
    const running = (async () => {
      for (let n = 1; !isOver; n++) {
        const spec = n % 5 === 0 ? BAD : { limits: { maxDepth: n } };
        const path = `${QUEUES}/${name}?fieldManager=test&force=true`;
        const { status, body } = await api('PATCH', path, queue(name, spec), APPLY);
        if (n % 5 === 0 && status === 422 && body.message.includes('is not valid')) seen.bad++;
        else if (n % 5 !== 0 && status < 300) seen.good++;
        else seen.failures.push(`${status} ${body.message}`);
        const handshake = await fleet.handshake();
        if (handshake !== 'ok') seen.failures.push(`handshake: ${handshake}`);
      }
    })();
    return {
      seen,
      async end() {
        isOver = true;
        await running;
      },
    };
  }
  const presented = () => fleet.said('webhook.certificate-presented').length;

  async function rotate(seen: { readonly good: number }): Promise<void> {
    const enough = (good: number) => until('traffic', async () => seen.good > good);
    await enough(10);
    const before = presented();
    fleet.offMs = 0;
    await fleet.touch();
    await until('another certificate is presented', async () => presented() > before);
    expect(String(fleet.said('webhook.certificate-kept').at(-1)?.['reasons'])).toContain('signs from now on');
    await enough(seen.good + 20);
    const { uid } = (await fleet.must('GET', SECRET)).metadata;
    await fleet.unpublished(async () => {
      expect((await api('DELETE', SECRET)).status).toBe(200);
      await until('it is made anew', async () => (await fleet.must('GET', SECRET)).metadata.uid !== uid);
      await enough(seen.good + 20);
      expect(presented()).toBe(before + 1);
    });
    await until('the one made anew is presented', async () => presented() > before + 1);
    await enough(seen.good + 20);
  }

  test('the next authority takes over, and then a Secret is deleted: no request fails', async () => {
    await until('the next authority is announced', async () => (await bundle()).length === 2);
    const flow = traffic('flow');
    await rotate(flow.seen).finally(flow.end);
    const { good, bad, failures } = flow.seen;
    expect(failures).toEqual([]);
    expect(good).toBeGreaterThan(40);
    expect(bad).toBeGreaterThan(5);
    expect(await bundle()).toHaveLength(3);
  });

  test('an operator that starts anew presents the same certificate, and writes nothing', async () => {
    const secret = await fleet.must('GET', SECRET);
    await fleet.stopOperator(operator);
    operator = await fleet.operator();
    await fleet.answers();
    expect((await fleet.must('GET', SECRET)).metadata.resourceVersion).toBe(secret.metadata.resourceVersion);
  });
});

describe('while no operator answers', () => {
  beforeAll(async () => {
    // Wrong from before, with a finalizer.
    await fleet.configure('Ignore', { rules: [] });
    await until('nobody asks', async () => (await create(queue('left', BAD, held))).status === 201);
    await fleet.configure('Fail');
    await fleet.answers();
    await fleet.stopOperator(operator);
  });

  test('Fail refuses objects and says why; finalizers and deletions it keeps nobody from', async () => {
    const { status, body } = await create(queue('good-1', { schedules: [DAILY] }));
    expect([status, body.message]).toEqual([
      500,
      expect.stringContaining('failed calling webhook "validate.flowmesh.io"'),
    ]);
    expect((await change('left', { metadata: { labels: { a: 'b' } } })).status).toBe(200);
    expect((await remove('left')).status).toBe(200);
    expect((await change('left', { metadata: { finalizers: null } })).status).toBe(200);
    expect((await api('GET', `${QUEUES}/left`)).status).toBe(404);
  });

  test('Ignore lets objects pass, and the condition says what the webhook would have said', async () => {
    await fleet.configure('Ignore');
    await until('objects pass', async () => (await create(queue('passed', BAD))).status === 201);
    operator = await fleet.operator();
    const accepted = async () => {
      const { status } = await fleet.must('GET', `${QUEUES}/passed`);
      return status?.conditions?.find(({ type }: { type: string }) => type === 'Accepted');
    };
    await until('it is judged', async () => (await accepted())?.status === 'False');
    const { field, message } = said(BAD);
    expect(await accepted()).toMatchObject({ reason: 'Invalid', message: `${field} ${message}` });
    await fleet.answers();
    const { body } = await create(queue('refused', BAD));
    expect(body.message).toContain((await accepted()).message);
  });

  test('without a configuration everything else works', async () => {
    expect((await api('DELETE', CONFIGURATION)).status).toBe(200);
    await until('nobody asks', async () => (await create(queue('unasked', BAD))).status === 201);
    expect(operator.services[0]?.obstacle()).toBeUndefined();
    expect((await change('unasked', { spec: { schedules: [DAILY] } })).status).toBe(200);
    await fleet.configure('Fail');
    await fleet.answers();
  });
});

test('the webhook needs each of its permissions, and no other', () => {
  const granted = PERMISSIONS.filter(({ when }) => when === 'webhook.enabled').flatMap(
    ({ group, resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`)),
  );
  const asked = new Set<string>();
  const forbidden: string[] = [];
  for (const { user, stage, verb, objectRef, responseStatus, stageTimestamp } of fleet.plane.auditEvents()) {
    if (user.username !== USER || stage === 'RequestReceived' || !isOurs(objectRef)) continue;
    if (objectRef?.resource === 'secrets' && objectRef.namespace !== 'flowmesh-system') continue;
    const at = `${objectRef?.apiGroup ?? ''}/${objectRef?.resource}`;
    asked.add(`${verb} ${at}`);
    if (verb === 'patch' && responseStatus?.code === 201) asked.add(`create ${at}`);
    const atMs = Date.parse(stageTimestamp);
    const isMeant = fleet.deniedMs.some(([from, to]) => atMs >= from - 1 && atMs <= to);
    if (responseStatus?.code === 403 && !isMeant) forbidden.push(`${verb} ${at} ${objectRef?.name}`);
  }
  expect(forbidden).toEqual([]);
  expect(granted.filter((each) => !asked.has(each))).toEqual([]);
});
