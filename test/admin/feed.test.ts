// The change feed: what is told, when, and from a token on; on one shard and on three, across restarts.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Declared, OnChange } from '../../dataplane/admin/declared.ts';
import { AdminFeed } from '../../dataplane/admin/feed.ts';
import type { WatchSession } from '../../dataplane/services.ts';
import type { ShardPort } from '../../dataplane/shard/state-machine.ts';
import { aJob, Bench, caller, nackOf } from '../queue/bench.ts';
import { anOwner, kinds, release } from './support.ts';

const [queue, stream] = kinds as [(typeof kinds)[number], (typeof kinds)[number]];

type Opens = Pick<Bench['fabric']['admin'], 'openWatch'>['openWatch'];

/** A watcher that keeps what it is told. */
class Watcher {
  readonly messages: pb.WatchAdminResponseInput[] = [];
  error: FlowError | null = null;
  accepts = true;
  session!: WatchSession;

  static async open(openWatch: Opens, resumeToken = '', only: string[] = []): Promise<Watcher> {
    const watcher = new Watcher();
    const send = (message: pb.WatchAdminResponseInput) => {
      watcher.messages.push(message);
      return watcher.accepts;
    };
    const fail = (error: FlowError) => {
      watcher.error = error;
    };
    watcher.session = await openWatch(caller, { resumeToken, kinds: only }, send, fail);
    return watcher;
  }

  get changes(): pb.AdminChangeInput[] {
    return this.messages.flatMap(({ changes }) => [...(changes ?? [])]);
  }

  /** `changed queue a`, in order of names where several came at once. */
  take(): string[] {
    const told = this.changes.map(({ change, kind, name }) => `${change} ${kind} ${name}`);
    this.messages.length = 0;
    return told;
  }

  get token(): string {
    return this.messages.findLast(({ resumeToken }) => resumeToken)?.resumeToken ?? '';
  }
}

describe.each([1, 3])('shards: %d', (shards) => {
  let bench: Bench;
  beforeEach(async () => {
    bench = await Bench.open({ onDisk: true, shards });
  });
  afterEach(() => bench.close());

  const watch = (token = '', only: string[] = []) =>
    Watcher.open((...args) => bench.fabric.admin.openWatch(...args), token, only);

  test('[AD10] everything that becomes of queues and streams is told, whoever does it', async () => {
    await queue.apply(bench, 'before', {});
    const watcher = await watch();
    expect(watcher.messages).toEqual([{ resumeToken: expect.stringMatching(/./) }]);
    const told = async (what: Promise<unknown>, ...changes: string[]) => {
      await what;
      await bench.idle();
      expect(watcher.take().sort()).toEqual(changes.sort());
    };
    await told(queue.apply(bench, 'a', queue.one), 'declared queue a');
    await told(queue.apply(bench, 'a', queue.one));
    await told(queue.apply(bench, 'a', queue.other), 'changed queue a');
    await told(stream.apply(bench, 's', stream.one), 'declared stream s');
    await told(stream.apply(bench, 's', { partitions: 9 }), 'changed stream s');
    await told(
      bench.queues.setPaused(caller, { queue: 'a', paused: true, mutation: null }),
      'changed queue a',
    );
    await told(
      bench.queues.setDraining(caller, { queue: 'a', draining: true, mutation: null }),
      'changed queue a',
    );
    await told(bench.enqueue('made', aJob('x')), 'declared queue made');
    const held = await bench.leaseOne('made');
    await told(bench.settle('made', nackOf(held, { unrecoverable: true })), 'declared queue made.dead');
    await told(queue.remove(bench, 'a'), 'deleted queue a');
    await told(stream.remove(bench, 's'), 'deleted stream s');
    watcher.session.close();
    await told(queue.apply(bench, 'b', {}));
  });

  test('[AD10] owner, generation and drift are told as they are, of the kinds asked for', async () => {
    const watcher = await watch('', ['stream']);
    await queue.declare(bench, 'q', {});
    await stream.declare(bench, 's', stream.one, {
      owner: anOwner('me', { clusterUid: 'c' }),
      generation: 3,
    });
    await stream.apply(bench, 's', stream.other);
    await bench.idle();
    const [last] = watcher.changes.slice(-1);
    expect(last).toMatchObject({
      name: 's',
      generation: 3,
      drifted: true,
      owner: { uid: 'me', clusterUid: 'c' },
    });
    expect(watcher.changes.every(({ kind }) => kind === 'stream')).toBe(true);
    watcher.take();
    await release(bench, 'stream', 's');
    await bench.idle();
    expect(watcher.changes).toEqual([
      expect.objectContaining({ change: 'changed', owner: null, generation: 0 }),
    ]);
  });

  test.each([true, false])(
    '[AD11] from a token nothing is missed, across a restart (clean: %s)',
    async (clean) => {
      const first = await watch();
      await queue.apply(bench, 'stays', {});
      await queue.apply(bench, 'goes', {});
      await bench.idle();
      const token = first.token;
      first.session.close();
      await bench.enqueue('stays', aJob('traffic'));
      await queue.apply(bench, 'stays', queue.one);
      await queue.apply(bench, 'new', {});
      await stream.apply(bench, 'news', {});
      const again = await watch(token);
      expect(again.take().sort()).toEqual([
        'changed queue stays',
        'declared queue new',
        'declared stream news',
      ]);
      await bench.restart({ clean });
      const later = await watch(token);
      const all = later.take().sort();
      expect(all).toEqual(['changed queue stays', 'declared queue new', 'declared stream news']);
      await queue.remove(bench, 'goes');
      await bench.idle();
      expect(later.take()).toEqual(['deleted queue goes']);
      // Names of deleted things are remembered, but not for ever.
      expect((await watch(token)).take()).toContain('deleted queue goes');
      await bench.restart({ clean });
      await expect(watch(token)).rejects.toMatchObject({ code: 'HISTORY_TRIMMED' });
    },
  );

  test('[AD11] a deletion and what has the name since are one: what is there now', async () => {
    const { token } = await watch();
    await queue.apply(bench, 'a', {});
    await queue.remove(bench, 'a');
    await queue.apply(bench, 'a', {});
    await queue.apply(bench, 'b', {});
    await queue.remove(bench, 'b');
    expect((await watch(token)).take().sort()).toEqual(['declared queue a', 'deleted queue b']);
  });

  test('[AD11] tokens of other data are refused, and what is no token is said to be none', async () => {
    const { token: mine } = await watch();
    const [version, , ...places] = Buffer.from(mine, 'base64url').toString().split(' ');
    const tokenOf = (...parts: unknown[]) => Buffer.from(parts.join(' ')).toString('base64url');
    const foreign = [
      [version, 'another-cluster', ...places],
      [version, bench.fabric.clusterId, ...places, '0'],
      [version, bench.fabric.clusterId, ...places.map(() => 'zzzz')],
    ];
    for (const parts of foreign)
      await expect(watch(tokenOf(...parts))).rejects.toMatchObject({ code: 'HISTORY_TRIMMED' });
    for (const token of ['x', Buffer.from('2 a 1').toString('base64url'), '\0'.repeat(5000)])
      await expect(watch(token)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(watch('', ['keyspace'])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('[AD12] a watcher that does not read is kept nothing for, and catches up', async () => {
    const watcher = await watch();
    watcher.accepts = false;
    for (let i = 0; i < 50; i++) await queue.apply(bench, `q${i}`, {});
    await bench.idle();
    const before = watcher.messages.length;
    expect(before).toBeLessThan(10);
    watcher.accepts = true;
    watcher.session.resume();
    const names = new Set(watcher.changes.map(({ name }) => name));
    expect(names.size).toBe(50);
    watcher.take();
    await queue.apply(bench, 'live', {});
    await bench.idle();
    expect(watcher.take()).toEqual(['declared queue live']);
  });

  test('[AD12] there are at most a thousand watches', async () => {
    const all: Watcher[] = [];
    for (let i = 0; i < 1000; i++) all.push(await watch());
    await expect(watch()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    all[0]?.session.close();
    await watch();
  });
});

/** A shard whose journal stands still until the test lets it go on. */
function stoppedShard() {
  let durable = 0;
  const onSettled: (() => void)[] = [];
  let told: OnChange = () => {};
  const things = new Map<string, Declared>();
  const port = {
    settled: () => new Promise<void>((resolve) => void onSettled.push(resolve)),
    timeline: {
      get window() {
        return { first: 1, next: durable + 1 };
      },
    },
  } as unknown as ShardPort;
  const feed = new AdminFeed({
    shards: [port],
    origin: 'o',
    things: [
      [
        {
          kind: 'queue',
          all: () => things.values(),
          find: (_, name) => things.get(name),
          deletedAt: 0,
          follow: (tell) => {
            told = tell;
          },
        },
      ],
    ],
  });
  return {
    feed,
    change(name: string, position: number, generation: number): void {
      const before = things.get(name);
      const ownership = { owner: anOwner('me'), generation, isDrifted: false };
      things.set(name, { name, ownership, bornAt: before?.bornAt ?? position, changedAt: position });
      told(before === undefined ? 'declared' : 'changed', 1, name, position);
    },
    remove(name: string, position: number): void {
      things.delete(name);
      told('deleted', 1, name, position);
    },
    async durableTo(position: number): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve));
      durable = position;
      for (const resolve of onSettled.splice(0)) resolve();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('[AD10] nothing is told before it is durable, also not a second change', async () => {
  const shard = stoppedShard();
  const open: Opens = (...args) => shard.feed.open(...args);
  const watcher = await Watcher.open(open);
  watcher.take();
  shard.change('a', 1, 1);
  await shard.durableTo(0);
  expect(watcher.messages).toEqual([]);
  // By the time that the first change is durable there is a second one, which is not.
  shard.change('a', 2, 2);
  await shard.durableTo(1);
  const late = await Watcher.open(open, Buffer.from('1 o 0').toString('base64url'));
  expect([...watcher.changes, ...late.changes]).toEqual([]);
  await shard.durableTo(2);
  for (const { changes } of [watcher, late])
    expect(changes).toEqual([expect.objectContaining({ change: 'declared', name: 'a', generation: 2 })]);
  watcher.take();
  shard.change('a', 3, 3);
  shard.remove('a', 4);
  await shard.durableTo(3);
  expect(watcher.changes).toEqual([]);
  await shard.durableTo(4);
  expect(watcher.take()).toEqual(['deleted queue a']);
});
