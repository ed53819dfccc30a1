// What the operator writes while specs stay: its Lease, and figures of what has traffic when they are another
// two digits. By the audit log of a real API server, at the pace that production has.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type FlowMesh } from '@flowmesh/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../e2e/parts/process.ts';
import { Fleet } from './fleet.ts';

const IDLE = 30;
const PER_SECOND = 20;
const MINUTE_MS = 61_000;
const SETTLING_MS = 45_000;
/** One list of figures every 30 s, with jitter. */
const LISTS_MAX = 3;

let fleet: Fleet;
let client: FlowMesh;

beforeAll(async () => {
  fleet = await Fleet.start({ audit: 'RequestResponse' });
  const { address } = await fleet.dataPlane('default/main');
  client = await connect({ address });
  await fleet.create('FlowMeshCluster', 'default/main');
  await fleet.operator();
});
afterAll(async () => {
  await client?.close();
  await fleet?.stop();
});

interface Write {
  readonly what: string;
  readonly status: { readonly figures?: { readonly waiting?: number } } | undefined;
}

/** What the operator has written since then, but for its Lease. */
function writesSince(sinceMs: number): Write[] {
  return fleet.plane
    .auditEvents()
    .filter(({ verb, userAgent, objectRef, stageTimestamp }) => {
      const isOurs = userAgent?.startsWith('flowmesh-operator') === true && objectRef?.resource !== 'leases';
      return isOurs && !['get', 'list', 'watch'].includes(verb) && Date.parse(stageTimestamp) >= sinceMs;
    })
    .map(({ verb, objectRef, responseObject }) => ({
      what: `${verb} ${objectRef?.resource}/${objectRef?.subresource ?? ''} ${objectRef?.name}`,
      status: (responseObject as { status?: Write['status'] } | undefined)?.status,
    }));
}

test('a steady minute: its Lease, and figures that are another two digits', async () => {
  const idle = Array.from({ length: IDLE }, (_, i) => `idle-${i}`);
  const queues = [...idle, 'waiting', 'through', 'growing'];
  for (const name of queues) await fleet.create('Queue', `default/${name}`);
  for (const name of ['quiet', 'written']) await fleet.create('Stream', `default/${name}`);
  for (const name of queues) await fleet.condition('Queue', `default/${name}`, 'Ready=True');
  // They wait longer and longer, and the age that is shown needs no write for that.
  await client.queue.enqueueMany('waiting', ['a', 'b', 'c']);
  const worker = client.queue.worker('through', () => {});
  const traffic = new AbortController();
  const producing = (async () => {
    for (let n = 0; !traffic.signal.aborted; n++) {
      await client.queue.enqueue('through', { n });
      await client.queue.enqueue('growing', { n });
      await client.stream.write('written', { n });
      await sleep(1000 / PER_SECOND);
    }
  })();
  // Workers are counted by the next list of figures, and the oldest job is shown from 30 s on, by a resync.
  await sleep(SETTLING_MS);
  const isShown = async () =>
    (await fleet.get('Queue', 'default/waiting'))?.status?.oldestReadyAt !== undefined;
  await until('the oldest job is shown', isShown, { timeoutMs: 90_000, everyMs: 500 });

  const sinceMs = Date.now();
  await sleep(MINUTE_MS);
  const writes = writesSince(sinceMs);
  traffic.abort();
  await producing;
  await worker.drain();

  const of = (what: string) => writes.filter((write) => write.what === what);
  const expected = [
    'patch queues/status growing',
    'patch queues/status through',
    'patch streams/status written',
  ];
  expect(writes.map(({ what }) => what).filter((what) => !expected.includes(what))).toEqual([]);
  for (const what of expected) expect(of(what).length, what).toBeLessThanOrEqual(LISTS_MAX);
  // The figures do go on: they are not silent because nobody looks.
  const shown = of('patch queues/status growing').map(({ status }) => status?.figures?.waiting ?? 0);
  expect(shown.length).toBeGreaterThan(0);
  expect(new Set(shown).size).toBe(shown.length);
  for (const waiting of shown) expect(String(waiting)).toMatch(/^\d{1,2}0*$/);
}, 300_000);
