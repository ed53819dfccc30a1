// npm run bench:kv: SET and GET per second through the SDK, fsync before every SET is answered.
import { machine, runLoad, withServer } from './support/run.ts';
import { type Rate, shown } from './support/windows.ts';

type Result = Rate & { count: number };

const say = (line: string) => void process.stdout.write(`${line}\n`);
say(`kv: 100 B values, 100,000 keys, ${machine()}, server and load on the same cores`);
for (const callers of [1000, 50]) {
  const [set, get] = await withServer(async (s) => {
    const common = { address: s.address, callers, keys: 100_000, bytes: 100 };
    return [
      await runLoad<Result>('kv', { ...common, op: 'set' }),
      await runLoad<Result>('kv', { ...common, op: 'get' }),
    ];
  });
  say(
    `${String(callers).padStart(5)} callers   SET ${shown(set?.median ?? 0)}/s` +
      `   GET ${shown(get?.median ?? 0)}/s`,
  );
}
