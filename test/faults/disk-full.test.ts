// A real file system that is full: new data is refused, reads, acks and deletes go on, it resumes by itself
// when there is space again, and nothing is lost.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { after } from '../../dataplane/storage/keys.ts';
import { openLevel } from '../../dataplane/storage/level.ts';
import { RowStore } from '../../dataplane/storage/row-store.ts';
import { until } from '../crash/rounds.ts';
import { keyOf, texts } from '../storage/support.ts';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

const MIB = 1024 * 1024;
const canMount = process.platform === 'linux' && process.getuid?.() === 0;
const skipped = canMount ? '' : 'SKIPPED: needs root on Linux, to mount a small tmpfs: ';
const storage = { segmentBytes: 4 * MIB, checkpointBytes: 8 * MIB };
const VALUE = 'v'.repeat(60_000);

describe.skipIf(!canMount)(`${skipped}a full disk`, () => {
  let mount: string;
  let server: ServerProcess;
  beforeAll(() => {
    mount = mkdtempSync(join(tmpdir(), 'flowmesh-full-'));
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', mount]);
    expect(mounted.status, String(mounted.stderr)).toBe(0);
  });
  afterAll(async () => {
    await server?.kill('SIGKILL');
    spawnSync('umount', [mount]);
    rmSync(mount, { recursive: true, force: true });
  });

  const options = () => ({ dataDir: join(mount, 'data'), shards: 1, storage });
  async function call(method: string, path: string, body?: unknown) {
    const response = await fetch(`http://127.0.0.1:${server.httpPort}/${path}`, {
      method,
      headers: { 'content-type': typeof body === 'string' ? 'text/plain' : 'application/json' },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    return {
      status: response.status,
      text: await response.text(),
      retryAfter: response.headers.get('retry-after'),
    };
  }
  const set = (n: number) => call('PUT', `v1/kv/default/key-${n}`, `${n} ${VALUE}`);
  const enqueue = (n: number) => call('POST', 'v1/queues/q/jobs', { payload: `${n} ${VALUE}` });

  test('refuses new data, goes on with the rest, resumes alone and has lost nothing', async () => {
    writeFileSync(join(mount, 'other'), Buffer.alloc(30 * MIB));
    server = await startServerProcess(options());
    const kept = new Set<number>();
    let jobs = 0;
    // Until it stays full: at first checkpoints set journal segments free.
    let refused: Awaited<ReturnType<typeof call>> | undefined;
    for (let n = 0, refusals = 0; refusals < 20; n++) {
      const answer = n % 3 === 0 ? await enqueue(n) : await set(n);
      refusals = answer.status < 300 ? 0 : refusals + 1;
      if (answer.status < 300 && n % 3 === 0) jobs++;
      else if (answer.status < 300) kept.add(n);
      else {
        refused = answer;
        await sleep(250);
      }
    }
    expect(refused).toMatchObject({ status: 507, retryAfter: '1' });
    expect(refused?.text).toContain('DISK_FULL');
    expect((await call('GET', 'readyz')).text).toMatch(/degraded.*disk_full/);
    for (let n = 10_000; n < 10_100; n++) expect((await set(n)).status).toBe(507);

    // Reads, deletes, leases and acks.
    for (const n of [...kept].filter((each) => each % 7 === 0))
      expect((await call('GET', `v1/kv/default/key-${n}`)).text).toBe(`${n} ${VALUE}`);
    for (const n of [...kept].filter((each) => each % 5 === 0)) {
      expect((await call('DELETE', `v1/kv/default/key-${n}`)).status).toBeLessThan(300);
      kept.delete(n);
    }
    let acked = 0;
    for (; acked < 10; acked++) {
      const leased = JSON.parse((await call('POST', 'v1/queues/q/lease', { max: 1, waitMs: 1000 })).text);
      const [job] = leased.jobs as { id: string; leaseEpoch: number }[];
      const settled = await call('POST', `v1/queues/q/jobs/${job?.id}/ack`, { leaseEpoch: job?.leaseEpoch });
      expect(settled.status, settled.text).toBeLessThan(300);
    }
    // The checkpoints that are tried meanwhile fail or not: neither may hurt.
    await sleep(3000);
    expect(server.child.exitCode, server.stderr()).toBe(null);

    rmSync(join(mount, 'other'));
    await until('it resumes by itself', async () => (await set(20_000)).status < 300, 15_000);
    kept.add(20_000);
    expect((await call('GET', 'readyz')).text).toMatch(/ready/);

    for (const clean of [false, true]) {
      await server.kill(clean ? 'SIGTERM' : 'SIGKILL');
      server = await startServerProcess(options());
      for (const n of kept)
        expect((await call('GET', `v1/kv/default/key-${n}`)).text, `key ${n}`).toBe(`${n} ${VALUE}`);
      expect((await call('GET', 'v1/kv/default/key-10000')).status).toBe(404);
      const { figures } = JSON.parse((await call('GET', 'v1/queues/q')).text);
      expect(Number(figures.waiting) + Number(figures.leased)).toBe(jobs - acked);
    }
  }, 120_000);

  test('rows wait for space with LevelDB untouched, so that reads go on', async () => {
    const dir = join(mount, 'rows');
    mkdirSync(dir);
    const level = await openLevel({ dir });
    const rows = new RowStore({ level, monotonicMs: () => 0, cacheBytesMax: 0 });
    const put = (n: number) => rows.put(texts, keyOf(texts, `${n}`), `${n}`.repeat(MIB));
    put(1);
    rows.freeze();
    await rows.writeFrozen([]);
    for (let n = 2; n < 8; n++) put(n);
    rows.freeze();
    const { bavail, bsize } = statfsSync(mount);
    writeFileSync(join(mount, 'other'), Buffer.alloc(bavail * bsize - 8 * MIB));
    await expect(rows.writeFrozen([])).rejects.toMatchObject({ code: 'DISK_FULL' });
    const from = keyOf(texts, '');
    const read = async () => {
      const found = await rows.scan(texts, { from, to: after(from), limit: 100 });
      return found.map(({ value }) => value[0]).join('');
    };
    expect(await read()).toBe('1234567');
    rmSync(join(mount, 'other'));
    await rows.writeFrozen([]);
    expect(await read()).toBe('1234567');
    await rows.close();
    rmSync(dir, { recursive: true });
  });

  test('is not kept full by what is only history', async () => {
    // Far more than the disk has, in the same few keys: what is overwritten leaves, checkpoint by checkpoint.
    for (let n = 0; n < 2500; n++) {
      await until(`write ${n}`, async () => (await set(30_000 + (n % 20))).status < 300, 15_000);
    }
  }, 200_000);
});
