// npm run bench:overload [-- seconds]: ten times the load that the server can take, for minutes (default
// 300). The server gets a tenth of a core, so that this is possible on one machine. It must not run out of
// memory, refuse what it cannot take, lose nothing that it acknowledged, and be its old self soon.
import type { ServerProcess } from '../test/support/server-process.ts';
import { type Probe, startProbe } from './support/probe.ts';
import { machine, runLoad, withServer } from './support/run.ts';
import { throttle } from './support/throttle.ts';
import { shown, sleep } from './support/windows.ts';

interface Load {
  offered: number;
  acknowledged: number;
  refused: number;
  unanswered: number;
  other: number;
  unsent: number;
  seconds: number;
  codes: Record<string, number>;
}

const SHARE = 0.1;
const TIMES = 10;
const LIMIT_BYTES = 512 * 1024 * 1024;
const NORMAL_MS = 30_000;
const DEADLINE_MS = 30_000;

const seconds = Number(process.argv[2] ?? 300);
if (!(seconds >= 5)) {
  process.stderr.write('error: npm run bench:overload [-- <seconds, at least 5>]\n');
  process.exit(2);
}
const say = (line: string) => void process.stdout.write(`${line}\n`);
const ms = (n: number) => `${n.toFixed(0)} ms`;
const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
say(`overload: unary enqueues of jobs of 1 KiB, ${machine()}, the server has ${SHARE * 100} % of a core`);

const problems: string[] = [];

async function overload(server: ServerProcess, probe: Probe, jobs: number): Promise<void> {
  const common = { address: server.address, connections: 20, deadlineMs: DEADLINE_MS, jobs, bytes: 1024 };
  const enqueuedBefore = await probe.enqueued('load');
  await runLoad<Load>('overload', { ...common, rate: 0, seconds: 5 });
  const capacity = await runLoad<Load>('overload', { ...common, rate: 0, seconds: 10 });
  const perSecond = capacity.acknowledged / capacity.seconds;
  await sleep(3000);
  const before = await probe.window(10_000);
  const alone = `a read alone p99 ${ms(before.p99)}`;
  say(`calls of ${jobs}: capacity ${shown(perSecond)} calls/s with 200 callers; ${alone}`);

  const load = runLoad<Load>('overload', { ...common, rate: perSecond * TIMES, seconds });
  const during = await probe.window(seconds * 1000);
  const seen = await load;
  const rate = (n: number) => `${shown(n / seen.seconds)}/s`;
  say(
    `  offered      ${rate(seen.offered + seen.unsent)} for ${Math.round(seen.seconds)} s: ` +
      `${rate(seen.acknowledged)} acknowledged, ${rate(seen.refused)} refused, ` +
      `${rate(seen.unanswered)} unanswered after ${DEADLINE_MS / 1000} s, ` +
      `${rate(seen.unsent)} not sent since 2,000 waited, ${seen.other} other`,
  );
  for (const [code, count] of Object.entries(seen.codes)) say(`               ${count} x ${code}`);
  say(
    `  meanwhile    resident memory up to ${mib(during.residentMax)} (limit ${mib(LIMIT_BYTES)}), ` +
      `reads p99 ${ms(during.p99)}, ${during.states.join(', ')}`,
  );
  const normalMs = await probe.until(NORMAL_MS, (p99) => p99 <= 1.5 * before.p99 + 5);
  const soon = normalMs === undefined ? 'not normal' : `normal within ${(normalMs / 1000 + 5).toFixed(0)} s`;
  say(`  after        ${soon}`);
  const kept = (await probe.enqueued('load')) - enqueuedBefore;
  const acknowledged = jobs * (capacity.acknowledged + seen.acknowledged);
  say(`  kept         ${kept} jobs; ${acknowledged} were acknowledged after the warm-up`);
  if (kept < acknowledged) problems.push(`${acknowledged - kept} acknowledged jobs are not there`);
  if (during.residentMax > LIMIT_BYTES) problems.push('more memory than the limit');
  if (normalMs === undefined) problems.push(`not back to normal within ${NORMAL_MS / 1000} s`);
  if (seen.acknowledged < 0.3 * perSecond * seconds) problems.push('it did little but refuse');
  if (seen.other > 0) problems.push('calls ended in other ways than acknowledged, refused, unanswered');
}

await withServer(
  async (server) => {
    const { pid } = server.child;
    if (pid === undefined) throw new Error('the server has no pid');
    const release = throttle(pid, SHARE);
    const probe = startProbe(server);
    try {
      for (const jobs of [1, 100]) await overload(server, probe, jobs);
    } finally {
      probe.close();
      release();
    }
    if (server.child.exitCode !== null) problems.push(`the server ended: ${server.stderr()}`);
  },
  { memoryLimitBytes: LIMIT_BYTES },
);
for (const problem of problems) say(`FAILED         ${problem}`);
process.exitCode = problems.length > 0 ? 1 : 0;
