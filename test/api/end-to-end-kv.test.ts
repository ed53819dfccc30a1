// Keys against the whole server, over HTTP and from the SDK: lists, watches, earlier states, caches.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@flowmesh/client';
import { TransactionsClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { serve } from './real-server.ts';
import { atEnd, refused, unary } from './support.ts';

/** The parts of a response that does not end, one by one. */
async function listen(url: string, init: RequestInit, separator = '\n\n') {
  const leaving = new AbortController();
  atEnd(() => leaving.abort());
  const response = await fetch(url, { ...init, signal: leaving.signal });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  return {
    type: response.headers.get('content-type'),
    async next(): Promise<string> {
      for (;;) {
        const end = text.indexOf(separator);
        if (end !== -1) {
          const part = text.slice(0, end);
          text = text.slice(end + separator.length);
          return part;
        }
        const chunk = await reader?.read();
        if (chunk === undefined || chunk.done) throw new Error(`the response ended with ${text}`);
        text += chunk.value;
      }
    },
    close: async () => leaving.abort(),
  };
}

describe.each([1, 3])('shards: %d', (shards) => {
  test('[KV36] keys: listed in pages; watched as lines or events, from where one left off', async () => {
    const { base, ask } = await serve({ shards });
    const put = (key: string, body: unknown) => ask('PUT', `/v1/kv/default/${key}`, body);
    await put('user%2F1', { n: 1 });
    await put('user%2F2', { n: 2 });
    await put('other', 'x');
    const found: unknown[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ask('GET', `/v1/kv/default?prefix=user/&limit=1${cursor}`);
      found.push(...body.keys);
      if (body.cursor === undefined) break;
      cursor = `&cursor=${encodeURIComponent(body.cursor)}`;
    }
    const key = (n: number) => ({ key: `user/${n}`, type: 'string' });
    expect(found).toHaveLength(2);
    expect(found).toEqual(expect.arrayContaining([key(1), key(2)]));

    const events = { accept: 'text/event-stream' };
    const url = `${base}/v1/kv/default?watch=true&prefix=user/`;
    const live = await listen(url, { headers: events });
    expect(live.type).toBe('text/event-stream');
    expect(await live.next()).toMatch(/^id: 1-\S+\nevent: position\ndata: /);
    await put('user%2F3', { n: 3 });
    await ask('DELETE', '/v1/kv/default/user%2F3');
    const first = await live.next();
    expect(first).toMatch(/event: change\ndata: .*"value":\{"n":3\}/);
    expect(await live.next()).toContain('"reason":"delete"');
    await live.close();

    const id = /^id: (\S+)/.exec(first)?.[1] ?? '';
    const again = await listen(url, { headers: { ...events, 'last-event-id': id } });
    await again.next();
    expect(await again.next()).toContain('"reason":"delete"');
    await again.close();

    const lines = await listen(`${base}/v1/kv/default?watch=true&cursor=${id}`, {}, '\n');
    expect(JSON.parse(await lines.next())).toEqual({ cursor: id });
    expect(JSON.parse(await lines.next())).toMatchObject({ key: 'user/3', reason: 'delete', type: 'string' });
    for (const [query, code] of [
      ['watch=true&cursor=nonsense', 'INVALID_ARGUMENT'],
      ['watch=true&limit=5', 'INVALID_ARGUMENT'],
      ['watch=perhaps', 'INVALID_ARGUMENT'],
      ['afterRevision=5', 'INVALID_ARGUMENT'],
      ['cursor=!!', 'MALFORMED'],
    ])
      expect((await ask('GET', `/v1/kv/default?${query}`)).body, query).toMatchObject({ code });
  });

  test('[KV37] [KV38] keys as they were: by revision and snapshot, over HTTP and from the SDK', async () => {
    const { server, base, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const { revision } = await fm.kv.set('k', 'one');
    await fm.kv.set('gone', 1);
    const snapshot = await fm.kv.snapshot();
    const listed = (await ask('GET', '/v1/kv/default?asOf=now&limit=1')).body;
    await fm.kv.set('k', 'two');
    await fm.kv.delete('gone');
    await fm.kv.set('new', 1);
    expect(await fm.kv.asOf({ revision }).get('k')).toBe('one');
    expect(await snapshot.getEntry('k')).toMatchObject({ value: 'one', revision });
    expect(await snapshot.inspect('new')).toBeUndefined();
    const keys: string[] = [];
    for await (const { key } of snapshot.scan({ pageSize: 1 })) keys.push(key);
    expect(keys.sort()).toEqual(['gone', 'k']);
    const value = async (query: string) => (await fetch(`${base}/v1/kv/default/k?${query}`)).text();
    expect(await value(`asOfRevision=${revision}`)).toBe('one');
    expect(await value(`asOf=${snapshot.cursor}`)).toBe('one');
    expect(await value('asOf=now')).toBe('two');
    const found: string[] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page = `limit=1&cursor=${encodeURIComponent(cursor)}&asOf=${listed.asOf}`;
      const { body } = await ask('GET', `/v1/kv/default?${page}`);
      found.push(...body.keys.map(({ key }: { key: string }) => key));
      cursor = body.cursor;
    }
    expect(found.sort()).toEqual(['gone', 'k']);
    const both = await ask('GET', '/v1/kv/default/k?asOf=now&asOfTimeMs=5');
    expect(both.body).toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(fm.kv.asOf({ cursor: 'x' }).get('k')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('[KV45] members as they were, over HTTP and from the SDK', async () => {
    const { server, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    await fm.kv.hash('h').set({ a: 1, b: 'two' });
    await fm.kv.members('s').add('x', 'y');
    await fm.kv.sortedSet('z').add({ low: 1, high: 2 });
    const past = await fm.kv.snapshot();
    await fm.kv.hash('h').set({ a: 9, c: 3 });
    await fm.kv.delete('s');
    await fm.kv.sortedSet('z').increment('low', 5);
    expect(await past.hash('h').getAll()).toEqual({ a: 1, b: 'two' });
    expect([await past.hash('h').get('a'), await past.hash('h').size()]).toEqual([1, 2]);
    expect([await past.members('s').all(), await past.members('s').has('x')]).toEqual([
      new Set(['x', 'y']),
      true,
    ]);
    expect(await past.sortedSet('z').range({ reverse: true })).toEqual([
      { member: 'high', score: 2 },
      { member: 'low', score: 1 },
    ]);
    expect(await past.sortedSet('z').score('low')).toBe(1);
    const members = async (key: string, query = '') =>
      (await ask('GET', `/v1/kv/default/${key}/members?${query}`)).body;
    const then = `asOf=${past.cursor}`;
    expect(await members('h', then)).toMatchObject({
      type: 'hash',
      size: 2,
      members: [
        { name: 'a', value: '1' },
        { name: 'b', value: 'two' },
      ],
      asOf: past.cursor,
    });
    expect((await members('h')).members).toHaveLength(3);
    const page = await members('s', `${then}&limit=1`);
    expect(page.members).toEqual([{ name: 'x' }]);
    const next = await members('s', `${then}&limit=1&cursor=${encodeURIComponent(page.cursor)}`);
    expect(next.members).toEqual([{ name: 'y' }]);
    expect((await members('z', `${then}&reverse=true&limit=1`)).members).toEqual([
      { name: 'high', score: 2 },
    ]);
    expect((await members('z', 'minScore=3')).members).toEqual([{ name: 'low', score: 6 }]);
    expect(await members('s')).toMatchObject({ code: 'NOT_FOUND' });
    await fm.kv.set('text', 'x');
    expect(await members('text')).toMatchObject({ code: 'WRONG_TYPE' });
  });

  test('[KV41] [KV44] a keyspace declared a cache is one for SDK, HTTP and transactions', async () => {
    const { server, ask } = await serve({ shards });
    const fm = await connect({ address: `127.0.0.1:${server.grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    await fm.admin.applyKeyspace('pages', { mode: 'cache', maxBytes: 65_536, eviction: 'lfu' });
    const pages = fm.kv.keyspace('pages');
    for (let i = 0; i < 50; i++) await pages.set(`p${i}`, 'x'.repeat(5000));
    expect(await pages.get('p49')).toBe('x'.repeat(5000));
    expect((await ask('PUT', '/v1/kv/pages/k', { a: 1 })).body).toMatchObject({ durability: 'memory' });
    expect((await ask('GET', '/v1/kv/pages/k')).body).toEqual({ a: 1 });
    const [figures] = await fm.admin.listKeyspaces();
    expect(figures).toMatchObject({ name: 'pages', mode: 'cache', maxBytes: 65_536, eviction: 'lfu' });
    expect(figures?.evictedTotal).toBeGreaterThan(30);
    expect(figures?.bytes).toBeLessThanOrEqual(65_536);
    const kv = { keyspace: 'pages', ops: [{ set: { key: Buffer.from('t'), value: Buffer.from('x') } }] };
    const stub = new TransactionsClient(`127.0.0.1:${server.grpcPort}`, grpc.credentials.createInsecure());
    atEnd(() => stub.close());
    expect((await refused(unary(stub, stub.commit, { ops: [{ kv }] }))).code).toBe(
      grpc.status.INVALID_ARGUMENT,
    );
  });

  test('[KV36] a watch says that the server closes, and the SDK goes on at the next one', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'flowmesh-watch-'));
    atEnd(() => rm(dataDir, { recursive: true }));
    const first = await serve({ shards, dataDir });
    const { grpcPort } = first.server;
    const fm = await connect({ address: `127.0.0.1:${grpcPort}` });
    atEnd(() => fm.close({ timeout: 0 }));
    const { revision } = await fm.kv.set('k', 0);
    const lines = await listen(`${first.base}/v1/kv/default?watch=true`, {}, '\n');
    await lines.next();
    const seen: unknown[] = [];
    let watching = Promise.withResolvers<void>();
    const loop = (async () => {
      const onWatching = () => watching.resolve();
      for await (const { key, reason, value } of fm.kv.watch({
        key: 'k',
        afterRevision: revision,
        onWatching,
      })) {
        seen.push([key, reason, value]);
        if (reason === 'delete') return;
      }
    })();
    await watching.promise;
    watching = Promise.withResolvers();
    await fm.kv.set('k', 1);
    await expect.poll(() => seen).toEqual([['k', 'set', 1]]);
    await first.server.close();
    expect(JSON.parse(await lines.next())).toMatchObject({ key: 'k', value: 1 });
    expect(JSON.parse(await lines.next())).toMatchObject({ error: { code: 'UNAVAILABLE' } });
    await serve({ shards, dataDir, grpcPort });
    await fm.kv.set('k', 2);
    await fm.kv.delete('k');
    await loop;
    expect(seen).toEqual([
      ['k', 'set', 1],
      ['k', 'set', 2],
      ['k', 'delete', undefined],
    ]);
  });
});
