// npm run bench:jobs: jobs per second, enqueue -> handle -> ack, every step durable before it is answered.
// `-- --schema`: payloads are checked against a schema.
import { machine, runLoad, withServer } from './support/run.ts';
import { type Rate, shown } from './support/windows.ts';

type Result = Rate & { sent: number; handled: number; p50: number; p99: number };

const isChecked = process.argv.includes('--schema');
const say = (line: string) => void process.stdout.write(`${line}\n`);
say(
  `jobs: 200 B payload, ${isChecked ? 'with a schema, ' : ''}${machine()}, server and load on the same cores`,
);
for (const callers of [1000, 64]) {
  const result = await withServer((s) =>
    runLoad<Result>('jobs', { address: s.address, callers, rate: 0, bytes: 200, isChecked }),
  );
  say(
    `${String(callers).padStart(5)} callers   ${shown(result.median)} jobs/s median, ` +
      `${shown(result.best)} best` +
      `   (sent ${result.sent}, handled ${result.handled})`,
  );
}
const paced = await withServer((s) =>
  runLoad<Result>('jobs', { address: s.address, callers: 0, rate: 1000, bytes: 200, isChecked }),
);
say(` 1,000 jobs/s    end to end p50 ${paced.p50.toFixed(2)} ms, p99 ${paced.p99.toFixed(2)} ms`);
