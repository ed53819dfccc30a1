// What is measured of each system, one round at a time: figures by the name of the column.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { debian, goLoad } from './cache.ts';
import { type Running, residentMib } from './process.ts';
import { csvRate, flowmeshStreams, kafkaStreams, natsStreams, redisStreams } from './streams.ts';
import type { System } from './systems.ts';
import * as systems from './systems.ts';
import { lastLine, script, tool } from './tool.ts';

export interface Column {
  readonly name: string;
  readonly unit: string;
  /** Whether a smaller figure is the better one. */
  readonly isCost?: boolean;
}

export interface BenchClass {
  readonly title: string;
  /** What was done, for the document. */
  readonly how: string;
  readonly systems: readonly System[];
  readonly columns: readonly Column[];
  /** A figure for each column; undefined: the system does not do it, or was not asked to. */
  measure(system: System, running: Running, seconds: number): Promise<(number | undefined)[]>;
}

const JOB_LOAD = fileURLToPath(new URL('./job-load.ts', import.meta.url));

interface JobFigures {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** Producer and consumer are processes of their own. */
async function jobLoad(
  system: System,
  port: number,
  load: { callers: number; rate: number; seconds: number },
) {
  if (system.client === 'nats') {
    const plan = { seconds: load.seconds, warmUpSeconds: 2 };
    const args = { port, callers: load.callers, rate: load.rate, bytes: 200, plan };
    return lastLine<JobFigures>(await tool(goLoad('nats-load'), [JSON.stringify(args)]));
  }
  const start = (role: 'producer' | 'consumer') => {
    const { callers, rate, seconds } = load;
    const times = { warmUpMs: 2000, windowMs: seconds * 1000 };
    const args = JSON.stringify({ client: system.client, port, role, callers, rate, ...times });
    const child = spawn(process.execPath, ['--conditions=flowmesh-source', JOB_LOAD, args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    let [out, errors] = ['', ''];
    child.stdout?.on('data', (text) => {
      out += text;
    });
    child.stderr?.on('data', (text) => {
      errors += text;
    });
    const result = once(child, 'close').then(([code]) => {
      if (code !== 0)
        throw new Error(`${role} of ${system.name} ended with ${code}: ${errors.trim().slice(-300)}`);
      return JSON.parse(out.trim().split('\n').at(-1) ?? '{}') as JobFigures;
    });
    const ready = Promise.race([
      once(child, 'message'),
      result.then(() => Promise.reject(new Error('ended'))),
    ]);
    return { child, ready, result };
  };
  const consumer = start('consumer');
  const producer = start('producer');
  producer.result.catch(() => undefined);
  try {
    await Promise.all([consumer.ready, producer.ready]);
    for (const { child } of [consumer, producer]) child.send('go');
    return await consumer.result;
  } finally {
    for (const { child } of [consumer, producer]) child.kill('SIGKILL');
  }
}

const JOB_SYSTEMS: readonly System[] = [
  systems.flowmesh,
  systems.rabbitmq,
  systems.bullmqAlways,
  systems.natsSynced,
  systems.beanstalkd,
  systems.natsDefault,
  systems.bullmqEverysec,
];

const jobs: BenchClass = {
  title: 'Jobs: enqueue, handle, ack',
  how: '200 B payloads; producer and consumer are processes of their own; enqueues are awaited.',
  systems: JOB_SYSTEMS,
  columns: [
    { name: '1,000 callers', unit: 'jobs/s' },
    { name: '64 callers', unit: 'jobs/s' },
  ],
  async measure(system, { port }, seconds) {
    const many = await jobLoad(system, port, { callers: 1000, rate: 0, seconds });
    const few = await jobLoad(system, port, { callers: 64, rate: 0, seconds });
    return [many.rate, few.rate];
  },
};

const latency: BenchClass = {
  title: 'Latency: 1,000 jobs/s, from enqueue to handler; 1,000 SET/s and 1,000 GET/s',
  how:
    'Open loop: a job, or a SET and a GET, each millisecond, whether or not earlier ones were answered. ' +
    'Keys over the Redis protocol by ioredis, a connection for each.',
  systems: [...JOB_SYSTEMS, systems.redisAlways, systems.redisEverysec],
  columns: [
    { name: 'p50', unit: 'ms', isCost: true },
    { name: 'p99', unit: 'ms', isCost: true },
    { name: 'p99.9', unit: 'ms', isCost: true },
    { name: 'SET p50', unit: 'ms', isCost: true },
    { name: 'SET p99', unit: 'ms', isCost: true },
    { name: 'SET p99.9', unit: 'ms', isCost: true },
    { name: 'GET p50', unit: 'ms', isCost: true },
    { name: 'GET p99', unit: 'ms', isCost: true },
  ],
  async measure(system, running, seconds) {
    const { redisPort = running.port } = running as Running & { redisPort?: number };
    const load = { callers: 0, rate: 1000, seconds: 2 * seconds };
    const jobs = system.client && (await jobLoad(system, running.port, load));
    const hasKeys = system === systems.flowmesh || system.name.startsWith('Redis');
    const keys = hasKeys ? await pacedKeys(redisPort, seconds) : [];
    return [jobs?.p50, jobs?.p99, jobs?.p999, ...keys];
  },
};

async function pacedKeys(port: number, seconds: number): Promise<number[]> {
  const plan = { seconds, warmUpSeconds: 2 };
  const figures = lastLine<Record<'setP50' | 'setP99' | 'setP999' | 'getP50' | 'getP99', number>>(
    await script('keys-load.ts', { port, plan }),
  );
  const { setP50, setP99, setP999, getP50, getP99 } = figures;
  return [setP50, setP99, setP999, getP50, getP99];
}

const streams: BenchClass = {
  title: 'Streams: 256 B records',
  how:
    'FlowMesh: 10 callers of `writeMany` with 500 records, 1 reader. Kafka: its ProducerPerformance ' +
    '(batch.size 128 KiB, linger 10 ms, acks all) and ConsumerPerformance, one partition when it syncs, ' +
    'four when not. NATS: its bench (atomic batches of 100 when it syncs, fast ones of 500 when not, ' +
    'ordered consumer). Redis: redis-benchmark XADD, 1 connection, pipeline 100; ioredis XREADGROUP of ' +
    '1,000 and XACK; both at once by ioredis.',
  systems: [
    systems.flowmesh,
    systems.kafkaSynced,
    systems.natsSynced,
    systems.redisAlways,
    systems.kafkaDefault,
    systems.natsDefault,
    systems.redisEverysec,
  ],
  columns: [
    { name: 'write', unit: 'records/s' },
    { name: 'catch-up read', unit: 'records/s' },
    { name: 'write while read', unit: 'records/s' },
    { name: 'read while written', unit: 'records/s' },
  ],
  measure(system, { port }, seconds) {
    const isSynced = system.durability === 'synced';
    if (system === systems.flowmesh) return flowmeshStreams(port, seconds);
    if (system.name.startsWith('Kafka')) return kafkaStreams(port, isSynced, seconds);
    if (system.name.startsWith('NATS')) return natsStreams(port, isSynced, seconds);
    return redisStreams(port, isSynced, seconds);
  },
};

const kv: BenchClass = {
  title: 'Keys over the Redis protocol',
  how: 'redis-benchmark, 50 connections, 100 B values, 1 M keys; P is the number of requests in a pipeline.',
  systems: [systems.flowmesh, systems.redisAlways, systems.redisEverysec],
  columns: [
    { name: 'SET, P 1', unit: '1/s' },
    { name: 'GET, P 1', unit: '1/s' },
    { name: 'SET, P 16', unit: '1/s' },
    { name: 'GET, P 16', unit: '1/s' },
  ],
  async measure(_system, running, seconds) {
    debian('redis-benchmark', 'redis-tools');
    const port = (running as Running & { redisPort?: number }).redisPort ?? running.port;
    const bench = async (op: string, pipeline: number, requests: number) =>
      csvRate(
        await tool('redis-benchmark', [
          ...['-p', `${port}`, '-c', '50', '-d', '100', '-r', '1000000', '-P', `${pipeline}`],
          ...['-n', `${requests}`, '-t', op, '--csv'],
        ]),
      );
    // All keys are there before one is read.
    await bench('set', 16, 2_000_000);
    const figures: number[] = [];
    for (const [op, pipeline, perSecond] of [
      ['set', 1, 60_000],
      ['get', 1, 90_000],
      ['set', 16, 250_000],
      ['get', 16, 500_000],
    ] as const)
      figures.push(await bench(op, pipeline, perSecond * seconds));
    return figures;
  },
};

const footprint: BenchClass = {
  title: 'Footprint of an idle server',
  how: 'From the start of the process to its first answer, and resident memory 5 s later, children included.',
  systems: [
    systems.flowmesh,
    systems.rabbitmq,
    systems.kafkaDefault,
    systems.natsDefault,
    systems.redisAlways,
    systems.beanstalkd,
  ],
  columns: [
    { name: 'ready', unit: 'ms', isCost: true },
    { name: 'memory', unit: 'MiB', isCost: true },
  ],
  async measure(_system, { readyMs, pid }) {
    await sleep(5000);
    return [readyMs, residentMib(pid)];
  },
};

export const classes: Record<string, BenchClass> = { jobs, streams, kv, latency, footprint };

export const nodeVersion = (): string =>
  spawnSync(process.execPath, ['--version'], { encoding: 'utf8' }).stdout.trim();
