// Load: batched awaited writes of 256 B records by `callers` callers, a catch-up read of what is there,
// or a read that follows what is being written.
import { connect } from '@flowmesh/client';
import { DEFAULT_PLAN, measureRate } from '../support/windows.ts';

const args = JSON.parse(process.argv[2] ?? '{}') as {
  address: string;
  mode: 'write' | 'read' | 'follow';
  callers: number;
  batch: number;
  bytes: number;
  stream?: string;
  /** One window of this length instead of the default plan. */
  plan?: { seconds: number; warmUpSeconds: number };
};
const plan = args.plan
  ? { warmUpMs: args.plan.warmUpSeconds * 1000, windowMs: args.plan.seconds * 1000, windows: 1 }
  : DEFAULT_PLAN;
const fm = await connect({ address: args.address });
const stream = args.stream ?? 'bench.records';
let count = 0;

async function write(): Promise<object> {
  const value = Buffer.alloc(args.bytes, 7);
  const values = new Array<Buffer>(args.batch).fill(value);
  let isOver = false;
  const caller = async () => {
    while (!isOver) {
      if (args.batch === 1) await fm.stream.write(stream, value);
      else await fm.stream.writeMany(stream, values);
      count += args.batch;
    }
  };
  const callers = Array.from({ length: args.callers }, caller);
  const rate = await measureRate(() => count, plan);
  isOver = true;
  await Promise.all(callers);
  return { ...rate, count };
}

/** Reads everything once, as fast as it comes. */
async function read(): Promise<object> {
  const startMs = performance.now();
  const group = `bench-${process.pid}`;
  let bytes = 0;
  const figures = await fm.admin.getStream(stream);
  const total = figures.partitions.reduce((sum, p) => sum + p.end - p.logStart, 0);
  for await (const _event of fm.stream.consumer(stream, group, { from: 'earliest' })) {
    bytes += 1;
    if (++count >= total) break;
  }
  const seconds = (performance.now() - startMs) / 1000;
  return { windows: [count / seconds], median: count / seconds, best: count / seconds, count, bytes };
}

/** Reads what a writer in another process adds meanwhile. */
async function follow(): Promise<object> {
  let isOver = false;
  const reading = (async () => {
    for await (const _event of fm.stream.consumer(stream, `bench-${process.pid}`, { from: 'earliest' })) {
      count++;
      if (isOver) break;
    }
  })();
  const rate = await measureRate(() => count, plan);
  isOver = true;
  void reading;
  return { ...rate, count };
}

const result = await { write, read, follow }[args.mode]();
// Closing would wait for what a follower still has at hand.
if (args.mode !== 'follow') await fm.close();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
