// Streams of each system by its own best tool: write, catch up with one reader, then both at once.
import { setTimeout as sleep } from 'node:timers/promises';
import { goProgram, kafkaClasses } from './cache.ts';
import { lastLine, script, tool } from './tool.ts';

/** One connection that writes, one that reads; figures in the order of the columns. */
type Streams = Promise<number[]>;

interface Rates {
  readonly median: number;
}

const planOf = (seconds: number) => ({ seconds, warmUpSeconds: 2 });

export async function flowmeshStreams(port: number, seconds: number): Streams {
  const load = async (stream: string, mode: 'write' | 'read' | 'follow') => {
    const shape = { address: `127.0.0.1:${port}`, callers: 10, batch: 500, bytes: 256 };
    const args = { ...shape, stream, mode, plan: planOf(seconds) };
    return lastLine<Rates>(await script('../load/streams.ts', args)).median;
  };
  const write = await load('once', 'write');
  const read = await load('once', 'read');
  return [write, read, ...(await Promise.all([load('live', 'write'), load('live', 'follow')]))];
}

/** Kafka's own tools; the sync of each batch makes the size of a batch the rate. */
export async function kafkaStreams(port: number, isSynced: boolean, seconds: number): Streams {
  const records = (isSynced ? 150_000 : 350_000) * seconds;
  const servers = ['--bootstrap-server', `127.0.0.1:${port}`];
  const java = (main: string, ...args: string[]) =>
    tool('java', ['-Xmx1g', '-cp', kafkaClasses(), `org.apache.kafka.tools.${main}`, ...args]);
  const write = async (topic: string) => {
    const said = await java(
      'ProducerPerformance',
      ...['--topic', topic, '--num-records', `${records * 1.25}`, '--warmup-records', `${records / 4}`],
      ...['--record-size', '256', '--throughput', '-1', ...servers],
      ...['--command-property', 'acks=all', 'batch.size=131072', 'linger.ms=10', 'buffer.memory=67108864'],
    );
    return Number([...said.matchAll(/([\d.]+) records\/sec/g)].at(-1)?.[1]);
  };
  const read = async (topic: string) => {
    const count = ['--num-records', `${records}`, '--timeout', '20000'];
    const said = await java('ConsumerPerformance', ...servers, '--topic', topic, ...count);
    // start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
    return Number(said.trim().split('\n').at(-1)?.split(',')[9]);
  };
  // First: a producer that has a topic made as it goes may wait for a partition for minutes.
  for (const topic of ['once', 'live']) {
    const partitions = ['--partitions', isSynced ? '1' : '4'];
    await java('TopicCommand', ...servers, '--create', '--topic', topic, ...partitions);
  }
  const written = await write('once');
  const caughtUp = await read('once');
  return [written, caughtUp, ...(await Promise.all([write('live'), read('live')]))];
}

// What NATS reaches best: one sync covers an atomic batch; flow-controlled publishing without a sync.
const NATS = {
  synced: { publish: ['atomic', '--batch=100'], perSecond: 30_000 },
  loose: { publish: ['fast', '--batch=500'], perSecond: 250_000 },
} as const;

export async function natsStreams(port: number, isSynced: boolean, seconds: number): Streams {
  const { publish, perSecond } = NATS[isSynced ? 'synced' : 'loose'];
  const program = goProgram('nats', 'github.com/nats-io/natscli/nats@v0.5.1');
  const bench = async (stream: string, ...words: string[]) => {
    const where = ['--server', `nats://127.0.0.1:${port}`, '--no-context', 'bench', 'js'];
    const shape = ['--no-progress', `--stream=${stream}`, `--msgs=${perSecond * seconds}`, '--size=256B'];
    const said = await tool(program, [...where, ...words, ...shape]);
    const rate = [...said.matchAll(/([\d,]+) msgs\/sec/g)].at(-1)?.[1];
    if (rate === undefined) throw new Error(`nats bench ${words[0]} said no rate: ${said.slice(-200)}`);
    return Number(rate.replaceAll(',', ''));
  };
  const write = (stream: string) =>
    bench(stream, 'pub', ...publish, '--create', '--maxbytes=4GB', `${stream}.subject`);
  const read = (stream: string) => bench(stream, 'ordered');
  /** Until the writer beside it has created the stream. */
  const follow = async (stream: string): Promise<number> => {
    for (let left = 50; ; left--) {
      try {
        return await read(stream);
      } catch (error) {
        if (left === 0 || !String(error).includes('not found')) throw error;
        await sleep(100);
      }
    }
  };
  const written = await write('once');
  const caughtUp = await read('once');
  return [written, caughtUp, ...(await Promise.all([write('live'), follow('live')]))];
}

export async function redisStreams(port: number, isSynced: boolean, seconds: number): Streams {
  const records = (isSynced ? 150_000 : 350_000) * seconds;
  const written = await tool('redis-benchmark', [
    ...['-p', `${port}`, '-c', '1', '-P', '100', '-n', `${records}`, '--csv'],
    ...['XADD', 's', '*', 'v', 'x'.repeat(256)],
  ]);
  const load = async (mode: 'read' | 'both') =>
    lastLine<{ read: number; write: number }>(
      await script('redis-streams-load.ts', { port, mode, plan: planOf(seconds) }),
    );
  const { read } = await load('read');
  const both = await load('both');
  return [csvRate(written), read, both.write, both.read];
}

export const csvRate = (csv: string): number =>
  Number(/^"[^\n]*?","([\d.]+)"/m.exec(csv.split('\n').slice(1).join('\n'))?.[1]);
