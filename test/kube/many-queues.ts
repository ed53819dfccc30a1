// Many Queue objects in the namespace `default`, as people write them, applied at once; how many are Ready;
// what the operator wrote since.
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectOptions, connect } from '@flowmesh/client';
import type { AuditEvent, ControlPlane } from '../../e2e/control-plane.ts';
import type { Condition } from '../../operator/kube/conditions.ts';
import { listPath } from './definitions.ts';
import type { Program } from './operator-program.ts';

/** As from kubectl, 50 at once. */
export async function applyQueues({ api }: ControlPlane, cluster: string, count: number): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let n = next++; n < count; n = next++) {
      const name = `q${n}`;
      const path = `${listPath('Queue')}/${name}?fieldManager=kubectl`;
      const object = queueNamed(name, cluster);
      const { status, body } = await api('PATCH', path, object, 'application/apply-patch+yaml');
      if (status !== 201) throw new Error(`${name}: ${body.message}`);
    }
  };
  await Promise.all(Array.from({ length: 50 }, lane));
}

const queueNamed = (name: string, cluster: string) => ({
  apiVersion: 'flowmesh.io/v1alpha1',
  kind: 'Queue',
  metadata: {
    name,
    labels: { 'app.kubernetes.io/name': name, 'app.kubernetes.io/part-of': 'shop', team: 'orders' },
    annotations: { 'example.org/description': `what the shop has to do about ${name}` },
  },
  spec: {
    clusterRef: { name: cluster },
    queueName: `shop.${name}`,
    delivery: { visibilityTimeout: '45s', maxAttempts: 7, backoff: { type: 'Exponential', initial: '2s' } },
    deduplication: { window: '10m' },
    limits: { maxDepth: 500_000 },
    retention: { finished: '12h' },
  },
});

export async function untilReady(
  { api }: ControlPlane,
  operator: Program,
  count: number,
  timeoutMs: number,
): Promise<void> {
  const isReady = ({ status }: { status?: { conditions?: Condition[] } }) =>
    status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false;
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    operator.demandAlive();
    const { body } = await api('GET', listPath('Queue'));
    const ready = ((body['items'] ?? []) as Parameters<typeof isReady>[0][]).filter(isReady).length;
    if (ready === count) return;
    if (performance.now() > deadlineMs)
      throw new Error(`${ready} of ${count} are Ready after ${timeoutMs} ms`);
    await sleep(1000);
  }
}

/** A change by the operator: `patch queues/status q7`. */
export interface Write {
  readonly what: string;
  readonly name: string;
  readonly atMs: number;
}

/** Of the audit log from line `from` on. */
export function writesOf(plane: ControlPlane, from: number): Write[] {
  const isWrite = ({ userAgent, stage, verb }: AuditEvent) =>
    userAgent?.startsWith('flowmesh-operator') === true &&
    stage === 'ResponseComplete' &&
    !['get', 'list', 'watch'].includes(verb);
  return plane
    .auditEvents()
    .slice(from)
    .filter(isWrite)
    .map(({ verb, objectRef, stageTimestamp }) => {
      const { resource = '', subresource, name = '' } = objectRef ?? {};
      const what = `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}`;
      return { what, name, atMs: Date.parse(stageTimestamp) };
    });
}

export function countsOf(writes: readonly Write[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { what } of writes) counts[what] = (counts[what] ?? 0) + 1;
  return counts;
}

export interface Traffic {
  /** Jobs handled so far. */
  settled(): number;
  stop(): Promise<void>;
}

const TRAFFIC_EVERY_MS = 250;
const SLOW_MS = 60_000;

/**
 * Steady work on the first `count` queues: four jobs a second each. The workers of one half keep up; those of
 * the other one are a little slow every other minute, so that jobs wait and are worked off again.
 */
export async function startTraffic(access: ConnectOptions, count: number): Promise<Traffic> {
  const client = await connect(access);
  const names = Array.from({ length: count }, (_, n) => `shop.q${n}`);
  let settled = 0;
  const isSlow = () => Math.floor(performance.now() / SLOW_MS) % 2 === 0;
  const workers = names.map((name, n) =>
    client.queue.worker(
      name,
      async () => {
        if (n % 2 === 0) await sleep(isSlow() ? 350 : 50);
        settled++;
      },
      { concurrency: 1 },
    ),
  );
  const timer = setInterval(() => {
    for (const name of names) void client.queue.enqueue(name, { order: settled }).catch(() => {});
  }, TRAFFIC_EVERY_MS);
  return {
    settled: () => settled,
    async stop() {
      clearInterval(timer);
      await Promise.all(workers.map((worker) => worker.drain()));
      await client.close();
    },
  };
}
