// npm run bench:streams: records per second of 256 B, fsync before every reply; then a catch-up read.
import { machine, runLoad, withServer } from './support/run.ts';
import { type Rate, shown } from './support/windows.ts';

type Result = Rate & { count: number };

const say = (line: string) => void process.stdout.write(`${line}\n`);
say(`streams: 256 B records, 4 partitions, ${machine()}, server and load on the same cores`);
const shapes = [
  { label: '10 callers x writeMany(500)', callers: 10, batch: 500 },
  { label: '1,000 callers x write', callers: 1000, batch: 1 },
];
for (const { label, callers, batch } of shapes) {
  const [written, read] = await withServer(async (s) => {
    const w = await runLoad<Result>('streams', {
      address: s.address,
      mode: 'write',
      callers,
      batch,
      bytes: 256,
    });
    const r = await runLoad<Result>('streams', { address: s.address, mode: 'read', bytes: 256 });
    return [w, r] as const;
  });
  say(
    `${label.padEnd(28)} ${shown(written.median)} records/s median, ${shown(written.best)} best;` +
      ` catch-up read of ${shown(read.count)} records: ${shown(read.median)}/s`,
  );
}
