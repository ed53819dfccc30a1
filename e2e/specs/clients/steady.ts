// Steady traffic on one queue for a bit longer than a minute: 20 jobs a second, each worked off at once.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@flowmesh/client';

const env = (name: string) => process.env[name] ?? '';
const tls = { ca: env('FLOWMESH_CA') };
const fm = await connect({ address: env('FLOWMESH_ADDRESS'), token: env('FLOWMESH_TOKEN'), tls });
const SECONDS = 75;
let done = 0;
const worker = fm.queue.worker('busy', () => {
  done++;
});
for (let n = 0; n < SECONDS * 20; n++) {
  await fm.queue.enqueue('busy', { n });
  await sleep(50);
}
await worker.drain();
await fm.close();
console.log(done);
