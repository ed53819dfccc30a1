// A thousand Queue objects applied at once to a real API server: how long until all are Ready, what the
// operator takes as a process of its own, and what it writes in a minute at rest and in a minute of traffic
// on a tenth of them. Needs what test:kube needs.
//   npm run bench:operator [-- COUNT]
import { setTimeout as sleep } from 'node:timers/promises';
import { startControlPlane } from '../e2e/control-plane.ts';
import { installDefinitions } from '../test/kube/definitions.ts';
import { applyQueues, countsOf, startTraffic, untilReady, writesOf } from '../test/kube/many-queues.ts';
import { startBoundPlane, startProgram } from '../test/kube/operator-program.ts';

const COUNT = Number(process.argv[2] ?? 1000);
const MINUTE_MS = 60_000;

const plane = await startControlPlane();
try {
  await installDefinitions(plane);
  const bound = await startBoundPlane(plane, 'main');
  const operator = await startProgram(plane);
  const memory = () => {
    const { rssMb, peakMb } = operator.memory();
    const seconds = operator.processorSeconds().toFixed(1);
    return `${Math.round(rssMb)} MB now, ${Math.round(peakMb)} MB at most, ${seconds} s of processor so far`;
  };
  await sleep(5_000);
  console.log(`operator, idle: ${memory()}`);
  const startedMs = performance.now();
  const since = () => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
  await applyQueues(plane, 'main', COUNT);
  console.log(`${COUNT} queues applied: ${since()}`);
  await untilReady(plane, operator, COUNT, 10 * MINUTE_MS);
  console.log(`all Ready: ${since()}; operator: ${memory()}`);
  // One list of figures and one resync of everything are behind us then.
  await sleep(75_000);
  const minute = async (what: string) => {
    const from = plane.auditEvents().length;
    await sleep(MINUTE_MS);
    console.log(`writes in a minute ${what}: ${JSON.stringify(countsOf(writesOf(plane, from)))}`);
    console.log(`operator: ${memory()}`);
  };
  await minute('at rest');
  const traffic = await startTraffic(bound.access, COUNT / 10);
  await sleep(75_000);
  await minute(`of traffic on ${COUNT / 10}`);
  console.log(`jobs in that time: ${traffic.settled()}`);
  await traffic.stop();
  await operator.kill('SIGKILL');
  await bound.kill();
} finally {
  await plane.stop();
}
process.exit(0);
