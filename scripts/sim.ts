// Runs seeds of the simulation in several processes: `npm run test:sim -- --seeds 1000`, or one of them in
// full: `npm run test:sim -- --seed 4711 [--shards 3]`.
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import cliProgress from 'cli-progress';
import { minimumsMissed, type Report, run, shardsOf, total } from '../test/sim/run.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string' },
    seed: { type: 'string' },
    shards: { type: 'string' },
    processes: { type: 'string', default: String(Math.max(1, availableParallelism())) },
    /** Begins no further seed after so long. */
    minutes: { type: 'string', default: '1440' },
    /** Ends at the first seed that breaks a promise. */
    bail: { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
});
/** In place of a seed. */
const ENOUGH = -1;
/** A seed that takes so long comes to no end: virtual time is bounded, a loop in which none passes is not. */
const SEED_MS_MAX = 300_000;
const shards = values.shards === undefined ? undefined : Number(values.shards);

if (values.worker) {
  process.on('message', async (seed: number) => {
    if (seed === ENOUGH) process.disconnect?.();
    else process.send?.(await run(seed, shards));
  });
} else if (values.seed !== undefined) {
  const report = await run(Number(values.seed), shards);
  tell(report);
  console.log(JSON.stringify(report.counts, null, 1));
  process.exitCode = report.violation === null ? 0 : 1;
} else process.exitCode = await runAll();

function tell(report: Report): void {
  for (const event of report.lastEvents) console.log(event);
  const { seed, shards: of, digest, steps } = report;
  const outcome =
    report.violation === null ? 'kept every promise' : `broke a promise:\n  ${report.violation}`;
  console.log(`seed ${seed}, ${of} shards, ${steps} steps, digest ${digest}: ${outcome}`);
  if (report.violation !== null) console.log(`again: npm run test:sim -- --seed ${seed} --shards ${of}`);
}

async function runAll(): Promise<number> {
  const count = Number(values.seeds);
  // A fresh range for each run, unless one is named.
  const first = Number(values.from ?? Math.floor(Date.now() / 1000) * 1000);
  const bar = new cliProgress.SingleBar({
    format: '{bar} {value}/{total} seeds, {failed} failed, {eta_formatted} left',
    noTTYOutput: false,
  });
  const reports: Report[] = [];
  const failed: Report[] = [];
  const endMs = Date.now() + Number(values.minutes) * 60_000;
  let next = first;
  bar.start(count, 0, { failed: 0 });
  const fail = (report: Report) => {
    failed.push(report);
    console.log(`failed: seed ${report.seed} (${report.shards}): ${report.violation}`);
  };
  const worker = (): Promise<void> =>
    new Promise<void>((resolve, reject) => {
      const child = fork(import.meta.filename, [...process.argv.slice(2), '--worker'], {
        execArgv: ['--conditions=flowmesh-source'],
      });
      let watch: NodeJS.Timeout | undefined;
      let isStuck = false;
      const give = () => {
        clearTimeout(watch);
        const isEnough = next >= first + count || Date.now() > endMs || (values.bail && failed.length > 0);
        const seed = isEnough ? ENOUGH : next++;
        child.send(seed);
        if (isEnough) return;
        watch = setTimeout(() => {
          isStuck = true;
          child.kill('SIGKILL');
          const violation = `comes to no end within ${SEED_MS_MAX / 1000} s`;
          const nothing = { digest: 'none', steps: 0, counts: {}, lastEvents: [] };
          fail({ seed, shards: shards ?? shardsOf(seed), violation, ...nothing });
        }, SEED_MS_MAX);
      };
      child.on('message', (report: Report) => {
        reports.push({ ...report, lastEvents: [] });
        if (report.violation !== null) fail(report);
        // Where there is no bar to see, a long run says now and then how far it is.
        if (!process.stdout.isTTY && reports.length % 100 === 0)
          console.log(`${reports.length} of ${count} seeds, ${failed.length} failed`);
        bar.update(reports.length, { failed: failed.length });
        give();
      });
      child.on('error', reject);
      child.on('exit', (code) => {
        if (code === 0) resolve();
        else if (isStuck) resolve(worker());
        else reject(new Error(`a worker ended with ${code}`));
      });
      give();
    });
  await Promise.all(Array.from({ length: Math.min(count, Number(values.processes)) }, worker));
  bar.stop();
  for (const report of failed.slice(0, 3)) tell(report);
  const sums = total(reports);
  // Few seeds may miss a kind of event by chance; a run that breaks a promise ends early.
  const missed = count >= 20 && failed.length === 0 ? minimumsMissed(sums, reports.length) : [];
  for (const what of missed) console.log(`too little happened: ${what}`);
  console.log(
    `${reports.length} seeds from ${first}: ${failed.length} failed; ${sums['starts'] ?? 0} starts, ` +
      `${sums['fault power'] ?? 0} power losses, ${sums['disk failed'] ?? 0} disk errors, ` +
      `${sums['delivery'] ?? 0} deliveries`,
  );
  return failed.length > 0 || missed.length > 0 ? 1 : 0;
}
