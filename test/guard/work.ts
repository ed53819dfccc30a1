// What the guard measures: the processor time of typical work from client to disk, and of a yardstick that
// has nothing to do with FlowMesh, both in this process.
import { once } from 'node:events';
import { connect as openSocket } from 'node:net';
import { crc32 } from 'node:zlib';
import type { FlowMesh } from '@flowmesh/client';

/** Processor time of the whole process, its threads included, ms. */
export async function processorMs(work: () => Promise<void> | void): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Buffers, strings, maps and checksums, as servers do: about as long as a piece of the work below. */
export function yardstick(): number {
  const rows = new Map<string, Buffer>();
  let sum = 0;
  for (let i = 0; i < 100_000; i++) {
    const key = `key:${(i * 7919) % 20_000}`;
    const value = Buffer.alloc(200, i & 255);
    value.write(key, 8, 'latin1');
    sum = crc32(value, sum);
    rows.set(key, value);
    const other = rows.get(`key:${(i * 31) % 20_000}`);
    if (other !== undefined) sum = (sum ^ other.readUInt32LE(4)) >>> 0;
  }
  return sum;
}

const TEXT = 'x'.repeat(200);
const JOBS = 10_000;
const RECORDS = 40_000;
const KEYS = 6000;
const PIPELINED = 40_000;

export type Work = (fm: FlowMesh, redisPort: number) => Promise<void>;

/** By name; each leaves nothing behind that makes the next round longer. */
export const works: Record<string, Work> = {
  async jobs(fm) {
    let handled = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    const worker = fm.queue.worker(
      'guard.jobs',
      () => {
        if (++handled === JOBS) resolve();
      },
      { concurrency: 1000, trackEffects: false },
    );
    await fm.queue.enqueueMany('guard.jobs', new Array<string>(JOBS).fill(TEXT));
    await promise;
    await worker.drain();
  },

  async streams(fm) {
    const written = await fm.stream.writeMany('guard.events', new Array<string>(RECORDS).fill(TEXT), {
      partition: 0,
    });
    let left = RECORDS;
    for await (const _ of fm.stream.follow('guard.events', { partition: 0, offset: written[0]?.offset ?? 0 }))
      if (--left === 0) return;
  },

  async keys(fm) {
    const names = Array.from({ length: KEYS }, (_, i) => `guard:${i}`);
    for (let from = 0; from < KEYS; from += 500) {
      const some = names.slice(from, from + 500);
      await Promise.all(some.map((name) => fm.kv.set(name, TEXT)));
      await Promise.all(some.map((name) => fm.kv.get(name)));
    }
  },

  async redis(_fm, redisPort) {
    const socket = openSocket(redisPort, '127.0.0.1');
    await once(socket, 'connect');
    for (let from = 0; from < PIPELINED; from += 1000) {
      let request = '';
      for (let i = from; i < from + 500; i++) {
        const name = `k${String(i).padStart(7, '0')}`;
        request += `*3\r\n$3\r\nSET\r\n$8\r\n${name}\r\n$200\r\n${TEXT}\r\n`;
        request += `*2\r\n$3\r\nGET\r\n$8\r\n${name}\r\n`;
      }
      socket.write(request);
      for (let left = 500 * ('+OK\r\n'.length + '$200\r\n\r\n'.length + 200); left > 0; ) {
        const [chunk] = (await once(socket, 'data')) as [Buffer];
        left -= chunk.length;
      }
    }
    socket.destroy();
  },
};
