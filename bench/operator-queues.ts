// A thousand Queue objects applied at once to a real API server: how long until all are Ready, what the
// operator takes, and what it writes in a minute in which nothing changes. Needs what test:kube needs.
//   npm run bench:operator [-- COUNT]
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fleet } from '../test/kube/fleet.ts';

const COUNT = Number(process.argv[2] ?? 1000);
const AT_ONCE = 50;
const STEADY_MS = 60_000;

const fleet = await Fleet.start();
try {
  const { api } = await fleet.dataPlane('default/main');
  await fleet.create('FlowMeshCluster', 'default/main');
  const { child } = await fleet.operator();
  const memory = () => {
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    const mb = (field: string) =>
      Math.round(Number(new RegExp(`${field}:\\s+([0-9]+)`).exec(status)?.[1]) / 1000);
    return `${mb('VmRSS')} MB now, ${mb('VmHWM')} MB at most`;
  };
  console.log(`operator, idle: ${memory()}`);
  const startedMs = performance.now();
  const since = () => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
  let next = 0;
  const apply = async () => {
    for (let i = next++; i < COUNT; i = next++) await fleet.create('Queue', `default/q${i}`);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, apply));
  console.log(`${COUNT} queues applied: ${since()}`);
  const isReady = async () => {
    const { body } = await fleet.plane.api('GET', fleet.path('Queue', 'default'));
    const items = (body['items'] ?? []) as { status?: { conditions?: { type: string; status: string }[] } }[];
    return items.filter(({ status }) =>
      status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    ).length;
  };
  for (let ready = 0; ready < COUNT; ) {
    await sleep(500);
    ready = await isReady();
  }
  console.log(`all Ready: ${since()}; operator: ${memory()}`);
  const { queues } = await api.listQueues({});
  console.log(`in the data plane: ${queues.filter(({ owner }) => owner !== null).length}`);
  // One list of figures and one resync of everything are behind us then.
  await sleep(75_000);
  const from = fleet.plane.auditEvents().length;
  await sleep(STEADY_MS);
  const writes = new Map<string, number>();
  for (const event of fleet.plane.auditEvents().slice(from)) {
    const isOurs = event.userAgent?.startsWith('flowmesh-operator');
    if (!isOurs || event.stage !== 'ResponseComplete' || ['get', 'list', 'watch'].includes(event.verb))
      continue;
    const { resource, subresource } = event.objectRef ?? {};
    const what = `${event.verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}`;
    writes.set(what, (writes.get(what) ?? 0) + 1);
  }
  console.log(`writes in a steady minute: ${JSON.stringify(Object.fromEntries(writes))}`);
  console.log(`operator: ${memory()}`);
} finally {
  await fleet.stop();
}
process.exit(0);
