// The wall clock of a real server jumps by an hour and back (libfaketime; the monotonic clock stays): leases,
// delays and TTLs take as long as they were told, also over a restart in an earlier time. (A restart in a
// later one cannot be told from one after a long time: what was due by then is due.)
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type FlowMesh } from '@flowmesh/client';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';

const [library] = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1');
/** Long enough that a server can be killed and started again in it, also beside other work. */
const TERM_MS = 6000;
const skipped = library === undefined ? 'SKIPPED: needs libfaketime (Debian: faketime): ' : '';

describe.skipIf(library === undefined)(`${skipped}a clock that jumps`, () => {
  let dir: string;
  let shift: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowmesh-clock-'));
    shift = join(dir, 'shift');
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  const jump = (by: string) => writeFileSync(shift, `${by}\n`);
  let server: ServerProcess;
  let fm: FlowMesh;

  async function start(): Promise<void> {
    const env = {
      LD_PRELOAD: library ?? '',
      FAKETIME_TIMESTAMP_FILE: shift,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
    server = await startServerProcess({ dataDir: join(dir, 'data'), shards: 1 }, { env });
    fm = await connect({ address: server.address });
  }

  async function stop(): Promise<void> {
    await fm.close();
    await server.kill('SIGKILL');
  }

  afterEach(async () => {
    await stop();
    rmSync(join(dir, 'data'), { recursive: true });
  });

  const post = async (path: string, body: object) => {
    const response = await fetch(`http://127.0.0.1:${server.httpPort}/v1/queues/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return (await response.json()) as { jobs: { id: string }[] };
  };
  const lease = async (queue: string, waitMs: number) =>
    (await post(`${queue}/lease`, { max: 1, waitMs, visibilityMs: TERM_MS })).jobs.length;

  test.each([
    ['+3600', false],
    ['-3600', false],
    ['-3600', true],
  ])('by %s seconds (kill -9 and restart in it: %s)', async (by, restarts) => {
    jump('+0');
    await start();
    await fm.queue.enqueue('leased', 'x');
    await fm.queue.enqueue('delayed', 'x', { delay: `${TERM_MS}ms` });
    expect(await lease('leased', 1000)).toBe(1);
    await fm.kv.set('key', 'x', { ttl: `${TERM_MS}ms` });
    const startMs = performance.now();
    jump(by);
    if (restarts) {
      await stop();
      await start();
    }
    // Writes make time pass for the shard.
    await fm.kv.set('other', 'x');
    expect(await lease('leased', 500)).toBe(0);
    expect(await lease('delayed', 0)).toBe(0);
    const shown = await fm.kv.get('key');
    expect(performance.now() - startMs, 'a machine fast enough for this test').toBeLessThan(TERM_MS - 100);
    expect(shown).toBe('x');

    // A restart may add what it took itself.
    await sleep(TERM_MS + 300 - (performance.now() - startMs));
    expect(await lease('leased', 3000)).toBe(1);
    expect(await lease('delayed', 3000)).toBe(1);
    expect(await fm.kv.get('key')).toBe(undefined);
  });
});
