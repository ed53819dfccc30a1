// What an application does with a cluster: runs in a pod, finds all that it needs in its environment (the
// binding Secret), and prints what came of it as JSON. Specs read this file and hand its text to node.
import { connect as dial } from 'node:tls';
import { connect, Unrecoverable } from '@flowmesh/client';

const env = (name: string) => process.env[name] ?? '';
const ca = env('FLOWMESH_CA');
const fm = await connect({ address: env('FLOWMESH_ADDRESS'), token: env('FLOWMESH_TOKEN'), tls: { ca } });

async function jobs(): Promise<unknown> {
  const payloads = Array.from({ length: 20 }, (_, n) => ({ n }));
  await fm.queue.enqueueMany('emails.send', payloads);
  const seen: number[] = [];
  const all = Promise.withResolvers<void>();
  const worker = fm.queue.worker<{ n: number }>('emails.send', (job) => {
    seen.push(job.payload.n);
    if (seen.length === payloads.length) all.resolve();
    if (job.payload.n === 7) throw new Unrecoverable('no such mailbox');
  });
  await all.promise;
  await worker.drain();
  // Left for whoever looks at the figures.
  for (const n of [100, 101, 102, 103]) await fm.queue.enqueue('emails.send', { n });
  return seen.sort((a, b) => a - b);
}

async function records(): Promise<unknown> {
  for (let order = 0; order < 10; order++) {
    await fm.stream.write('orders.events', { order }, { key: `customer-${order % 3}` });
  }
  const read: unknown[] = [];
  for await (const { value } of fm.stream.consumer('orders.events', 'billing')) {
    // An event is committed when the next one is asked for: the fifth is in hand and not committed.
    if (read.push(value) === 5) break;
  }
  return read.length;
}

/** RESP over TLS, as any Redis client speaks it. */
async function redis(...commands: string[][]): Promise<string> {
  const { hostname, port, password } = new URL(env('FLOWMESH_REDIS_URL'));
  const socket = dial({ host: hostname, port: Number(port), servername: hostname, ca });
  const encode = (words: string[]) =>
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
  const script = [['AUTH', 'default', decodeURIComponent(password)], ...commands, ['QUIT']];
  socket.write(script.map(encode).join(''));
  let answer = '';
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
  return answer;
}

await fm.kv.set('from-sdk', 'hello');
const report = {
  address: env('FLOWMESH_ADDRESS'),
  jobs: await jobs(),
  records: await records(),
  redis: await redis(['GET', 'from-sdk'], ['SET', 'from-redis', 'hello again']),
  // Redis clients write bytes.
  kv: Buffer.from((await fm.kv.get('from-redis')) as Uint8Array).toString(),
};
await fm.close();
console.log(JSON.stringify(report));
