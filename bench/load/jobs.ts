// Load: enqueue -> handle -> ack, `callers` concurrent awaited enqueues, one worker in the same process.
import { connect } from '@flowmesh/client';
import { measureRate, quantile, sleep } from '../support/windows.ts';

const args = JSON.parse(process.argv[2] ?? '{}') as {
  address: string;
  callers: number;
  /** Open loop at this many jobs a second instead of awaited callers; 0: closed loop. */
  rate: number;
  bytes: number;
  /** The queue has a schema. */
  isChecked?: boolean;
};

const fm = await connect({ address: args.address });
const queue = 'bench.jobs';
if (args.isChecked) {
  const fields = { at: 'number', text: { type: 'string', maxLength: 1000 } } as const;
  await fm.schema.apply('bench', { versions: [{ version: 1, fields }] });
  await fm.admin.applyQueue(queue, { schemaRef: { name: 'bench' } });
}
let handled = 0;
let sent = 0;
const latencies: number[] = [];
const text = 'x'.repeat(args.bytes - 24);

const worker = fm.queue.worker(
  queue,
  (job) => {
    handled++;
    if (args.rate > 0) latencies.push(performance.now() - (job.payload as { at: number }).at);
  },
  { concurrency: 2000, trackEffects: false },
);

let isOver = false;
async function caller(): Promise<void> {
  while (!isOver) {
    await fm.queue.enqueue(queue, { at: performance.now(), text });
    sent++;
  }
}

/** Sends what is due each millisecond, whether or not earlier ones were answered. */
async function openLoop(): Promise<void> {
  const startMs = performance.now();
  while (!isOver) {
    const due = ((performance.now() - startMs) / 1000) * args.rate;
    for (; sent < due; sent++) void fm.queue.enqueue(queue, { at: performance.now(), text });
    await sleep(1);
  }
}

const running = args.rate > 0 ? [openLoop()] : Array.from({ length: args.callers }, caller);
const rate = await measureRate(() => handled);
isOver = true;
await Promise.all(running);
await worker.drain();
await fm.close();
const tail = latencies.slice(Math.floor(latencies.length / 5));
process.stdout.write(
  `${JSON.stringify({ ...rate, sent, handled, p50: quantile(tail, 0.5), p99: quantile(tail, 0.99) })}\n`,
);
