// Leader election under a clock in the test's hand: an API server that is a map with versions.
//   Feared: two leaders at once; a leader that goes on although it cannot renew; nobody leading.
import { expect, test } from 'vitest';
import type { Client } from '../../../operator/kube/client.ts';
import { KubeError } from '../../../operator/kube/errors.ts';
import { electLeader, type Leadership } from '../../../operator/kube/leader.ts';
import { decideLease, type LeaseObject } from '../../../operator/kube/lease.ts';
import type { Runtime } from '../../../operator/runtime.ts';
import { TestRuntime, testLog } from './support.ts';

class LeaseServer {
  lease: LeaseObject | undefined;
  writes = 0;
  /** What a candidate's calls get instead of an answer. */
  trouble = new Map<string, 'refuse' | 'hang' | 'lose-answer'>();
  #version = 0;

  clientOf(identity: string): Client {
    const answer = async <T>(work: () => T, signal?: AbortSignal): Promise<T> => {
      await Promise.resolve();
      const trouble = this.trouble.get(identity);
      if (trouble === 'refuse') throw new KubeError('no', { status: 0, reason: 'Unreachable' });
      if (trouble === 'hang') {
        await new Promise((_, reject) =>
          signal?.addEventListener('abort', () => reject(new Error('aborted'))),
        );
      }
      const done = work();
      if (trouble === 'lose-answer') throw new KubeError('no', { status: 0, reason: 'Unreachable' });
      return done;
    };
    const store = (lease: LeaseObject): LeaseObject => {
      this.writes++;
      this.lease = structuredClone({
        ...lease,
        metadata: { ...lease.metadata, resourceVersion: `${++this.#version}` },
      });
      return structuredClone(this.lease);
    };
    return {
      get: (_: unknown, __: unknown, signal?: AbortSignal) =>
        answer(() => structuredClone(this.lease), signal),
      create: (_: unknown, lease: LeaseObject, signal?: AbortSignal) =>
        answer(() => {
          if (this.lease) throw new KubeError('exists', { status: 409, reason: 'AlreadyExists' });
          return store(lease);
        }, signal),
      replace: (_: unknown, lease: LeaseObject, signal?: AbortSignal) =>
        answer(() => {
          if (this.lease === undefined) throw new KubeError('gone', { status: 404, reason: 'NotFound' });
          if (lease.metadata.resourceVersion !== this.lease.metadata.resourceVersion) {
            throw new KubeError('conflict', { status: 409, reason: 'Conflict' });
          }
          return store(lease);
        }, signal),
    } as unknown as Client;
  }
}

function aRace() {
  const server = new LeaseServer();
  const runtime = new TestRuntime();
  const log = testLog();
  const leaders = new Map<string, Leadership>();
  const changes: string[] = [];
  const ends = new AbortController();
  const contend = (identity: string, over: Partial<Runtime> = {}) => {
    const { monotonicMs, wallMs, random, soon } = runtime;
    const after = runtime.after.bind(runtime);
    const clock: Runtime = { monotonicMs, wallMs, random, soon, after, ...over };
    void electLeader(
      {
        client: server.clientOf(identity),
        runtime: clock,
        log,
        namespace: 'ops',
        name: 'operator',
        identity,
        onChange: (leads) => changes.push(`${identity} ${leads}`),
      },
      ends.signal,
    ).then((leadership) => leadership && leaders.set(identity, leadership));
  };
  return { server, runtime, log, leaders, changes, contend, ends };
}

const leadersNow = (leaders: Map<string, Leadership>) =>
  [...leaders].filter(([, leadership]) => leadership.mayAct()).map(([identity]) => identity);

test('one leads, renews every two seconds, and the other waits', async () => {
  const { server, runtime, leaders, contend } = aRace();
  contend('a');
  await runtime.pass(100);
  contend('b');
  await runtime.pass(60_000);
  expect(leadersNow(leaders)).toEqual(['a']);
  expect(server.writes).toBeGreaterThanOrEqual(29);
  expect(server.writes).toBeLessThanOrEqual(32);
  expect(server.lease?.spec).toMatchObject({
    holderIdentity: 'a',
    leaseDurationSeconds: 15,
    leaseTransitions: 0,
  });
});

test('[L1] a leader that cannot renew stops after ten seconds, before anybody else may lead', async () => {
  const { server, runtime, leaders, contend, changes } = aRace();
  contend('a');
  await runtime.pass(100);
  contend('b');
  await runtime.pass(10_000);
  server.trouble.set('a', 'refuse');
  let a = 0;
  for (; leadersNow(leaders).includes('a'); a += 100) await runtime.pass(100);
  expect(a).toBeGreaterThan(7_000);
  expect(a).toBeLessThanOrEqual(10_100);
  expect(leaders.get('a')?.signal.aborted).toBe(true);
  let b = a;
  for (; leadersNow(leaders).length === 0 && b < 60_000; b += 100) await runtime.pass(100);
  expect(leadersNow(leaders)).toEqual(['b']);
  expect(b).toBeGreaterThan(a + 3_000);
  expect(b).toBeLessThanOrEqual(a + 10_000);
  expect(changes).toEqual(['a true', 'a false', 'b true']);
  expect(server.lease?.spec?.leaseTransitions).toBe(1);
});

test('[L1] a renewal that hangs does not keep it leading', async () => {
  const { server, runtime, leaders, contend } = aRace();
  contend('a');
  await runtime.pass(5_000);
  server.trouble.set('a', 'hang');
  await runtime.pass(10_100);
  expect(leaders.get('a')?.signal.aborted).toBe(true);
});

test('[L2] a process that was paused knows before its timers fire', async () => {
  const { runtime, leaders, contend } = aRace();
  contend('a');
  await runtime.pass(5_000);
  const leadership = leaders.get('a');
  expect(leadership?.mayAct()).toBe(true);
  runtime.jump(20_000);
  expect(leadership?.mayAct()).toBe(false);
});

test('[L3] a lease that somebody else has taken is lost at once', async () => {
  const { server, runtime, leaders, contend } = aRace();
  contend('a');
  await runtime.pass(5_000);
  const taken = structuredClone(server.lease) as LeaseObject;
  server.lease = {
    ...taken,
    metadata: { ...taken.metadata, resourceVersion: 'x' },
    spec: { holderIdentity: 'thief' },
  };
  await runtime.pass(2_500);
  expect(leaders.get('a')?.signal.aborted).toBe(true);
  expect(server.lease.spec?.holderIdentity).toBe('thief');
});

test('a renewal whose answer was lost is no reason to give up', async () => {
  const { server, runtime, leaders, contend } = aRace();
  contend('a');
  await runtime.pass(5_000);
  server.trouble.set('a', 'lose-answer');
  await runtime.pass(2_500);
  server.trouble.clear();
  await runtime.pass(30_000);
  expect(leadersNow(leaders)).toEqual(['a']);
});

test('[L4] released, another one leads within two and a half seconds', async () => {
  const { server, runtime, leaders, contend } = aRace();
  contend('a');
  await runtime.pass(100);
  contend('b');
  await runtime.pass(10_000);
  const released = leaders.get('a')?.release();
  await runtime.pass(0);
  await released;
  expect(leadersNow(leaders)).toEqual([]);
  expect(server.lease?.spec?.holderIdentity).toBe('');
  await runtime.pass(2_500);
  expect(leadersNow(leaders)).toEqual(['b']);
});

test('[E1] a candidate whose clock is wrong by hours neither takes a lease nor waits for ever', async () => {
  const { runtime, leaders, contend, server } = aRace();
  contend('a');
  await runtime.pass(100);
  contend('b', { wallMs: () => 0 });
  contend('c', { wallMs: () => 4_000_000_000_000 });
  await runtime.pass(60_000);
  expect(leadersNow(leaders)).toEqual(['a']);
  server.trouble.set('a', 'refuse');
  await runtime.pass(30_000);
  expect(leadersNow(leaders)).toHaveLength(1);
  expect(leadersNow(leaders)).not.toEqual(['a']);
});

test('never two at once, whatever the network does', async () => {
  const kinds = ['refuse', 'hang', 'lose-answer', undefined] as const;
  for (let seed = 1; seed <= 20; seed++) {
    const { server, runtime, leaders, contend, ends } = aRace();
    let state = seed;
    const next = () => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return state;
    };
    const names = ['a', 'b', 'c'];
    for (const name of names) contend(name);
    for (let step = 0; step < 60; step++) {
      const name = names[next() % 3] ?? 'a';
      const kind = kinds[next() % 4];
      if (kind === undefined) server.trouble.delete(name);
      else server.trouble.set(name, kind);
      await runtime.pass(next() % 4_000);
      expect(leadersNow(leaders).length).toBeLessThanOrEqual(1);
      for (const [each, leadership] of leaders) {
        if (!leadership.signal.aborted) continue;
        // As its process would: it starts anew.
        leaders.delete(each);
        contend(each);
      }
    }
    server.trouble.clear();
    await runtime.pass(40_000);
    expect(leadersNow(leaders)).toHaveLength(1);
    ends.abort();
    await runtime.pass(0);
  }
});

test('[E2] decisions: free, ours, of one that lives, of one that was silent for its duration', () => {
  const terms = { identity: 'a', durationMs: 15_000, nowMs: 100_000, wallMs: 0 };
  const lease = (holderIdentity: string) => ({
    metadata: { name: 'l' },
    spec: { holderIdentity, leaseDurationSeconds: 15 },
  });
  const kind = (holder: string, sinceMs: number) =>
    decideLease({ lease: lease(holder), sinceMs }, terms).kind;
  expect(decideLease(undefined, terms).kind).toBe('take');
  expect([kind('', 100_000), kind('a', 100_000), kind('b', 85_001), kind('b', 85_000)]).toEqual([
    'take',
    'take',
    'wait',
    'take',
  ]);
});
