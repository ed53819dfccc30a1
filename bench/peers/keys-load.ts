// Load over the Redis protocol by ioredis, the same for FlowMesh and Redis: GET and SET at a fixed rate, and
// how long their answers take.
import { quantile, sleep } from '../support/windows.ts';
import { nodeClients } from './cache.ts';

interface Commands {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<unknown>;
}
const { Redis } = nodeClients()('ioredis') as { Redis: new (port: number, host: string) => Commands };
const { port, plan } = JSON.parse(process.argv[2] ?? '{}') as {
  port: number;
  plan: { seconds: number; warmUpSeconds: number };
};
const PACED_KEYS = 10_000;
const PER_SECOND = 1000;
// Replies leave a connection in order: on one, each GET would also wait for the SET before it.
const writer = new Redis(port, '127.0.0.1');
const reader = new Redis(port, '127.0.0.1');
const value = 'x'.repeat(100);
const keyOf = (i: number) => `key:${String(i).padStart(12, '0')}`;

async function paced(): Promise<object> {
  const times = { get: [] as number[], set: [] as number[] };
  const timed = async (kind: 'get' | 'set', answer: Promise<unknown>, startMs: number) => {
    await answer;
    times[kind].push(performance.now() - startMs);
  };
  const startMs = performance.now();
  const endMs = startMs + (plan.seconds + plan.warmUpSeconds) * 1000;
  const running: Promise<void>[] = [];
  for (let sent = 0; performance.now() < endMs; await sleep(1)) {
    const due = ((performance.now() - startMs) / 1000) * PER_SECOND;
    for (; sent < due; sent++) {
      const nowMs = performance.now();
      running.push(timed('set', writer.set(keyOf(sent % PACED_KEYS), value), nowMs));
      running.push(timed('get', reader.get(keyOf((sent * 7) % PACED_KEYS)), nowMs));
    }
  }
  await Promise.all(running);
  const cut = plan.warmUpSeconds * PER_SECOND;
  const at = (kind: 'get' | 'set', q: number) => quantile(times[kind].slice(cut), q);
  return {
    ...{ getP50: at('get', 0.5), getP99: at('get', 0.99) },
    ...{ setP50: at('set', 0.5), setP99: at('set', 0.99), setP999: at('set', 0.999) },
  };
}

const result = await paced();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
