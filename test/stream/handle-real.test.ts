// The Node SDK against a whole server: a poison event, its dead letter, and streams that are cleaned by key.
import { connect, type StreamEvent } from '@flowmesh/client';
import { expect, onTestFinished, test } from 'vitest';
import { startServer } from '../../dataplane/main.ts';

async function served() {
  const server = await startServer({
    ...{ dataDir: null, shards: 3, host: '127.0.0.1', grpcPort: 0, httpPort: 0, insecure: false },
    ...{ autoCreate: true, logLevel: 'silent' },
    onFatal: (error: Error) => {
      throw error;
    },
  });
  const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
  onTestFinished(async () => {
    await fm.close();
    await server.close();
  });
  return fm;
}

test('[ST60] a poison event is in the dead-letter stream, and the group has passed it', async () => {
  const fm = await served();
  await fm.admin.applyStream('s', { partitions: 1 });
  await fm.stream.writeMany('s', [{ n: 1 }, { n: 2 }, { n: 3 }]);
  const abort = new AbortController();
  const handler = ({ value }: StreamEvent<{ n: number }>) => {
    if (value.n === 2) throw new Error('cannot be');
    if (value.n === 3) abort.abort();
  };
  await fm.stream.handle('s', 'g', handler, { attempts: 2, backoff: 0.001, signal: abort.signal });
  expect(await fm.admin.getGroup('s', 'g')).toMatchObject({ lag: 0, state: 'empty' });
  const { partitions } = await fm.admin.getStream('s.dead');
  const found = await Promise.all(partitions.map(({ partition }) => fm.stream.read('s.dead', { partition })));
  expect(found.flatMap(({ records }) => records)).toMatchObject([
    { value: { n: 2 }, headers: { 'flowmesh-source': 's/0/1', 'flowmesh-error': 'Error: cannot be' } },
  ]);
});

test('[ST54] the SDK declares cleaning by key, deletes keys and hears of missing ones', async () => {
  const fm = await served();
  const settings = { partitions: 1, cleanup: 'compact', tombstoneRetention: '1h' } as const;
  const { spec } = await fm.admin.applyStream('prices', settings);
  expect(spec).toMatchObject({ cleanup: 'compact', tombstoneRetentionMs: 3_600_000 });
  await fm.stream.write('prices', 3, { key: 'apple' });
  await fm.stream.write('prices', null, { key: 'apple' });
  await expect(fm.stream.write('prices', 3)).rejects.toMatchObject({ code: 'KEY_REQUIRED' });
  const { records } = await fm.stream.read('prices');
  expect(records.map(({ key, value }) => [key, value])).toEqual([
    ['apple', 3],
    ['apple', null],
  ]);
});
