// Recovery of more than is kept in memory: checkpoints are written while the journal is still replayed.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KvOpInput } from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openFabric } from '../../dataplane/fabric.ts';
import { realRuntime } from '../../dataplane/runtime.ts';
import { aRequest } from '../kv/support.ts';

type Fabric = Awaited<ReturnType<typeof openFabric>>;

const KEYS = 600;
const VALUE_BYTES = 150_000;
const caller = { identity: 'test', tenant: 1, deadlineMs: 0 };

let dataDir: string;
let events: string[];
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'flowmesh-long-recovery-'));
  const fabric = await open();
  for (const { checkpoints } of fabric.shards) checkpoints.isHeld = true;
  for (let key = 0; key < KEYS; key += 20) {
    const ops = Array.from({ length: 20 }, (_, i) => ({
      set: { key: Buffer.from(`key-${key + i}`), value: bodyOf(key + i) },
    }));
    await execute(fabric, ops);
  }
  await fabric.close();
});
afterEach(() => rmSync(dataDir, { recursive: true }));

function open(): Promise<Fabric> {
  events = [];
  return openFabric({
    dataDir,
    shards: 1,
    autoCreate: true,
    runtime: realRuntime,
    version: 'test',
    log: (event) => void events.push(event),
    onFatal: (error) => {
      throw error;
    },
  });
}

const bodyOf = (key: number) => Buffer.alloc(VALUE_BYTES, `value ${key},`);
const execute = (fabric: Fabric, ops: KvOpInput[]) => fabric.kv.execute(caller, aRequest(ops));

async function expectEverything(fabric: Fabric): Promise<void> {
  for (let key = 0; key < KEYS; key++) {
    const { results } = await execute(fabric, [{ get: { key: Buffer.from(`key-${key}`) } }]);
    expect(bodyOf(key).equals(results?.[0]?.value as Buffer), `key ${key}`).toBe(true);
  }
}

test('checkpoints are written meanwhile, and nothing is missing', async () => {
  const fabric = await open();
  const recovered = events.indexOf('shard.recovered');
  const before = events.slice(0, recovered).filter((event) => event === 'checkpoint.written');
  expect(before.length).toBeGreaterThanOrEqual(2);
  await expectEverything(fabric);
  await fabric.close();
});

test('damage met while a checkpoint is written loses nothing: without it, all is there', async () => {
  const dir = join(dataDir, 'shard-0', 'journal');
  const segments = readdirSync(dir)
    .filter((name) => name.endsWith('.segment'))
    .sort();
  const path = join(dir, segments[3] ?? '');
  const whole = readFileSync(path);
  const damaged = Buffer.from(whole);
  damaged.writeUInt8(damaged.readUInt8(damaged.length / 2) ^ 1, damaged.length / 2);
  writeFileSync(path, damaged);
  await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  expect(events).toContain('checkpoint.written');
  expect(events).not.toContain('checkpoint.failed');

  writeFileSync(path, whole);
  const fabric = await open();
  await expectEverything(fabric);
  await fabric.close();
});
