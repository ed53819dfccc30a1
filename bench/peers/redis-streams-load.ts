// Load: Redis Streams by ioredis. Modes: read (XREADGROUP of 1,000 and XACK until all was read), both
// at once.
import { nodeClients } from './cache.ts';

interface Commands {
  xadd(...args: unknown[]): Commands;
  xgroup(...args: unknown[]): Promise<unknown>;
  xack(...args: unknown[]): Promise<unknown>;
  xlen(key: string): Promise<number>;
  xreadgroup(...args: unknown[]): Promise<[string, [string, string[]][]][] | null>;
  pipeline(): Commands;
  exec(): Promise<unknown>;
}
const { Redis } = nodeClients()('ioredis') as { Redis: new (port: number, host: string) => Commands };
const { port, mode, plan } = JSON.parse(process.argv[2] ?? '{}') as {
  port: number;
  mode: 'read' | 'both';
  plan: { seconds: number; warmUpSeconds: number };
};
const key = mode === 'read' ? 's' : 'live';
const value = 'x'.repeat(256);
const reader = new Redis(port, '127.0.0.1');
await reader.xgroup('CREATE', key, 'g', '0', 'MKSTREAM');
let written = 0;
let read = 0;
let isOver = false;

async function readSome(): Promise<number> {
  const options = ['BLOCK', 500, 'STREAMS', key, '>'];
  const reply = await reader.xreadgroup('GROUP', 'g', 'me', 'COUNT', 1000, ...options);
  const entries = reply?.[0]?.[1] ?? [];
  if (entries.length > 0) await reader.xack(key, 'g', ...entries.map(([id]) => id));
  read += entries.length;
  return entries.length;
}

async function write(): Promise<void> {
  const writer = new Redis(port, '127.0.0.1');
  while (!isOver) {
    const pipeline = writer.pipeline();
    for (let i = 0; i < 100; i++) pipeline.xadd(key, '*', 'v', value);
    await pipeline.exec();
    written += 100;
  }
}

async function catchUp(): Promise<object> {
  const total = await reader.xlen(key);
  const startMs = performance.now();
  while (read < total) await readSome();
  return { read: (read * 1000) / (performance.now() - startMs) };
}

async function both(): Promise<object> {
  const readAll = async () => {
    while (!isOver) await readSome();
  };
  void [readAll(), ...Array.from({ length: 10 }, write)];
  await new Promise((resolve) => setTimeout(resolve, plan.warmUpSeconds * 1000));
  const before = { written, read, atMs: performance.now() };
  await new Promise((resolve) => setTimeout(resolve, plan.seconds * 1000));
  const seconds = (performance.now() - before.atMs) / 1000;
  return { write: (written - before.written) / seconds, read: (read - before.read) / seconds };
}

const result = mode === 'read' ? await catchUp() : await both();
isOver = true;
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
