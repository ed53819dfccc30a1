// Load: awaited KV operations by `callers` callers over `keys` random keys.
import { connect } from '@flowmesh/client';
import { measureRate } from '../support/windows.ts';

const args = JSON.parse(process.argv[2] ?? '{}') as {
  address: string;
  op: 'set' | 'get';
  callers: number;
  keys: number;
  bytes: number;
};
const fm = await connect({ address: args.address });
const value = Buffer.alloc(args.bytes, 7);
let count = 0;
let isOver = false;
const key = () => `key:${Math.floor(Math.random() * args.keys)}`;
async function caller(): Promise<void> {
  while (!isOver) {
    if (args.op === 'set') await fm.kv.set(key(), value);
    else await fm.kv.get(key());
    count++;
  }
}
const callers = Array.from({ length: args.callers }, caller);
const rate = await measureRate(() => count);
isOver = true;
await Promise.all(callers);
await fm.close();
process.stdout.write(`${JSON.stringify({ ...rate, count })}\n`);
