// A worker of queue `emails`, one job at a time. What it runs it writes to the stream `runs`, at the start: a
// job that is run twice is there twice. It does nothing about its end: on SIGTERM the SDK drains.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@flowmesh/client';

const env = (name: string) => process.env[name] ?? '';
await sleep(Number(env('LOAD_MS')));
const tls = { ca: env('FLOWMESH_CA') };
const fm = await connect({ address: env('FLOWMESH_ADDRESS'), token: env('FLOWMESH_TOKEN'), tls });
const pod = env('POD_NAME');
fm.queue.worker<{ n: number; ms: number }>(
  'emails',
  async ({ payload: { n, ms }, attempt }) => {
    await fm.stream.write('runs', { n, pod, attempt });
    await sleep(ms);
  },
  { concurrency: 1, name: pod },
);
