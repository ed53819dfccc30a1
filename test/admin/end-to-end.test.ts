// Owners, figures and the feed over the wire: a real server, the Node SDK, HTTP and the command line.
import { connect } from '@flowmesh/client';
import { expect, test } from 'vitest';
import { connect as connectCli } from '../../cli/client.ts';
import { serve } from '../api/real-server.ts';
import { atEnd } from '../api/support.ts';
import { flowmesh } from '../cli/support.ts';

const owner = { uid: 'u-1', kind: 'Queue', namespace: 'shop', name: 'emails' };

test('an operator declares, watches, polls and lets go', async () => {
  const { server, ask } = await serve({ shards: 3 });
  const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
  atEnd(() => fm.close());
  const stop = new AbortController();
  const seen: string[] = [];
  let isWatching = () => {};
  const watching = new Promise<void>((resolve) => {
    isWatching = resolve;
  });
  const watch = (async () => {
    for await (const each of fm.admin.watch({ onWatching: isWatching, signal: stop.signal })) {
      seen.push(`${each.change} ${each.kind} ${each.name} ${each.owner?.uid ?? '-'} ${each.drifted}`);
      if (each.change === 'deleted') stop.abort();
    }
  })();
  await watching;

  const by = { owner, generation: 2 };
  const declared = await fm.admin.declareQueue('emails', { maxAttempts: 5 }, by);
  expect(declared).toMatchObject({
    result: 'created',
    queue: { owner, generation: 2, spec: { maxAttempts: 5 } },
  });
  const stale = fm.admin.declareQueue('emails', {}, { owner, generation: 1 });
  await expect(stale).rejects.toMatchObject({ code: 'STALE_GENERATION' });
  expect(await fm.admin.declareStream('events', { partitions: 2 }, by)).toMatchObject({ result: 'created' });

  const drift = await ask('PUT', '/v1/queues/emails', { maxAttempts: 9 });
  expect(drift.body).toMatchObject({ owner: { uid: 'u-1' }, generation: 2, drifted: true });
  const repaired = await fm.admin.declareQueue('emails', { maxAttempts: 5 }, by);
  expect(repaired).toMatchObject({ result: 'changed', drifted: true });
  expect(repaired.changes).toEqual([{ field: 'maxAttempts', before: '9', after: '5' }]);

  await fm.queue.enqueue('emails', { to: 'ada' });
  expect(await fm.admin.figures({ kind: 'queue', pageSize: 1 })).toMatchObject({
    queues: [{ name: 'emails', waiting: 1, ownerUid: 'u-1' }],
    streams: [],
  });
  expect((await ask('GET', '/v1/figures?bucketed=true')).body).toMatchObject({
    queues: [{ name: 'emails', waiting: 1, generation: 2, drifted: false }],
    streams: [{ name: 'events', partitions: 2, records: 0, groups: [] }],
  });
  expect((await ask('GET', '/v1/figures?kind=key')).status).toBe(400);

  const cli = () => connectCli({ address: `127.0.0.1:${server.grpcPort}`, token: undefined });
  expect((await flowmesh('queue get emails', cli)).out).toMatch(/owner +Queue shop\/emails, generation 2\n/);
  const manifest = `
apiVersion: flowmesh.io/v1alpha1
kind: Queue
metadata: { name: emails }
spec: { clusterRef: { name: main }, delivery: { maxAttempts: 7 } }
`;
  const applied = await flowmesh('apply -f -', cli, { stdin: manifest });
  expect(applied).toMatchObject({ code: 0, out: expect.stringContaining('changed') });
  expect(applied.err).toContain('Queue shop/emails declares queue emails, and will change it back');
  await fm.admin.declareQueue('emails', { maxAttempts: 5 }, by);
  expect((await flowmesh('queue disown emails --yes', cli)).out).toBe('emails has no owner any more\n');
  expect((await flowmesh('stream disown events --yes -o json', cli)).out).toContain('"released": true');
  expect((await flowmesh('queue disown emails', cli)).out).toBe('emails has no owner\n');
  const removal = fm.admin.deleteQueue('emails', { owner });
  await expect(removal).rejects.toMatchObject({ code: 'OWNED_BY_OTHER' });
  expect(await fm.admin.declareQueue('emails', { maxAttempts: 5 }, by)).toMatchObject({ result: 'adopted' });
  await expect(fm.admin.deleteQueue('emails', { owner, ifEmpty: true })).rejects.toMatchObject({
    code: 'NOT_EMPTY',
  });
  await fm.admin.deleteStream('events', { ifEmpty: true });
  await watch;
  expect(seen[0]).toBe('declared queue emails u-1 false');
  expect(seen).toContain('changed queue emails u-1 true');
  expect(seen.at(-1)).toBe('deleted stream events - false');
});
