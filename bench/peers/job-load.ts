// One end of a job load, in a process of its own: node job-load.ts '{"client", "port", "role", ...}'. A
// payload begins with the time at which it was enqueued; the last line of output is JSON.
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../support/windows.ts';
import { clients } from './clients.ts';
import type { Client } from './systems.ts';

const args = JSON.parse(process.argv[2] ?? '{}') as {
  client: Exclude<Client, 'nats'>;
  port: number;
  role: 'producer' | 'consumer';
  /** Awaited enqueues at the same time; 0: open loop at `rate` a second. */
  callers: number;
  rate: number;
  warmUpMs: number;
  windowMs: number;
};

const PAYLOAD_BYTES = 200;
const now = () => performance.timeOrigin + performance.now();
const payload = () => `${now().toFixed(3)} `.padEnd(PAYLOAD_BYTES, 'x');
const client = clients[args.client];
// Whoever started this has ended, so does this.
process.on('disconnect', () => process.exit(1));
const print = (result: object) => process.stdout.write(`${JSON.stringify(result)}\n`);

if (args.role === 'consumer') {
  let handled = 0;
  let latencies: number[] = [];
  let isWindow = false;
  await client.consumer(args.port, (text) => {
    handled++;
    if (isWindow && args.callers === 0) latencies.push(now() - Number(text.slice(0, text.indexOf(' '))));
  });
  process.send?.('ready');
  await new Promise((resolve) => process.once('message', resolve));
  await sleep(args.warmUpMs);
  [isWindow, latencies] = [true, []];
  const [from, startMs] = [handled, performance.now()];
  await sleep(args.windowMs);
  const rate = ((handled - from) * 1000) / (performance.now() - startMs);
  isWindow = false;
  const of = (q: number) => quantile(latencies, q);
  print({ rate, p50: of(0.5), p99: of(0.99), p999: of(0.999) });
} else {
  const enqueue = await client.producer(args.port);
  process.send?.('ready');
  await new Promise((resolve) => process.once('message', resolve));
  const startMs = performance.now();
  const endMs = startMs + args.warmUpMs + args.windowMs + 500;
  let sent = 0;
  const caller = async () => {
    for (; performance.now() < endMs; sent++) await enqueue(payload());
  };
  if (args.callers > 0)
    await Promise.race([
      Promise.all(Array.from({ length: args.callers }, caller)),
      sleep(endMs - startMs + 5000),
    ]);
  for (; args.callers === 0 && performance.now() < endMs; await sleep(1)) {
    const due = ((performance.now() - startMs) / 1000) * args.rate;
    for (; sent < due; sent++) void enqueue(payload());
  }
  print({ sent });
}
process.exit(0);
