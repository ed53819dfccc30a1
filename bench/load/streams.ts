// Load: batched awaited writes of 256 B records by `callers` callers, or a catch-up read of what is there.
import { connect } from '@flowmesh/client';
import { measureRate } from '../support/windows.ts';

const args = JSON.parse(process.argv[2] ?? '{}') as {
  address: string;
  mode: 'write' | 'read';
  callers: number;
  batch: number;
  bytes: number;
};
const fm = await connect({ address: args.address });
const stream = 'bench.records';
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
  const rate = await measureRate(() => count);
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

const result = args.mode === 'write' ? await write() : await read();
await fm.close();
process.stdout.write(`${JSON.stringify(result)}\n`);
