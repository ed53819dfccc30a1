// The operator sets replicas by advice, and only by advice.
import { FlowError } from '@flowmesh/protocol';
import { describe, expect, test } from 'vitest';
import { type Advice, AdviceDesk } from '../../../operator/controllers/scaling/advice.ts';
import { Replicas } from '../../../operator/controllers/scaling/replicas.ts';
import type { Resource } from '../../../operator/kube/objects.ts';
import { aCluster, anObject } from '../declared-builders.ts';
import { aTarget } from './builders.ts';

const advice = (wanted: number): Advice => ({ lag: 1, wanted, reason: 'KeepUp', why: 'so', workers: [] });
const about = { resource: { kind: 'Queue' } as Resource, object: anObject() };

function operator() {
  const clock = { nowMs: 0 };
  const writes: unknown[] = [];
  const notes: string[] = [];
  let current = 2;
  const replicas = new Replicas({
    monotonicMs: () => clock.nowMs,
    writer: {
      merge: async (_: unknown, __: unknown, change: unknown) => {
        writes.push(change);
        current = (change as { spec: { replicas: number } }).spec.replicas;
      },
    },
    recorder: { record: (_, __, { note }) => void notes.push(note) },
  });
  const target = aTarget({ mode: 'Direct' });
  const look = (said: Advice | FlowError | undefined) => {
    const scale = { metadata: { name: 'email-worker' }, spec: { replicas: current } };
    return replicas.set({ target, scale, advice: said, about }, new AbortController().signal);
  };
  return { clock, writes, notes, look };
}

describe('replicas', () => {
  test('are set, with an event that says why, and not again while they are right', async () => {
    const { look, writes, notes } = operator();
    expect(await look(advice(5))).toBeUndefined();
    await look(advice(5));
    expect(writes).toEqual([{ spec: { replicas: 5 } }]);
    expect(notes).toEqual(['Deployment email-worker from 2 to 5: so']);
  });

  test('R1 stay while it is not known how many are wanted', async () => {
    const { look, writes } = operator();
    for (const said of [undefined, new FlowError('SCALING_UNKNOWN', 'starting')])
      expect((await look(said))?.reason).toBe('AdviceUnknown');
    expect(writes).toEqual([]);
  });

  test('R2 keep within the policy from one look to the next', async () => {
    const { look, writes, clock } = operator();
    await look(advice(20));
    clock.nowMs = 5_000;
    await look(advice(2));
    clock.nowMs = 10_000;
    await look(advice(2));
    expect(writes).toEqual([{ spec: { replicas: 20 } }, { spec: { replicas: 2 } }]);
  });
});

describe('the desk of advice', () => {
  function desk(isUp = true) {
    const clock = { nowMs: 0 };
    const asked: string[] = [];
    let fails = false;
    const connection = {
      async getScaling({ queue }: { queue: string }) {
        asked.push(queue);
        if (fails) throw new FlowError('SCALING_UNKNOWN', 'starting');
        const reason = queue === 'held' ? 'Held' : 'Lag';
        const figures = { workersWanted: 3, reason, why: 'so', active: true };
        const signals = { lag: 7, partitions: queue === 'group' ? 3 : 0 };
        return { signals, advice: figures, workers: [], lagTarget: 5 / 3 };
      },
    };
    const planes = { of: () => ({ connection: isUp ? connection : undefined }) };
    const it = new AdviceDesk(planes as never, () => clock.nowMs);
    const fail = () => {
      fails = true;
    };
    return { clock, asked, fail, of: (queue: string) => it.of(aCluster(), { queue }) };
  }

  test('A1 asks once for all who want to know, and again after two seconds', async () => {
    const { of, asked, clock } = desk();
    expect(await Promise.all([of('a'), of('a'), of('b')])).toMatchObject([
      { wanted: 3, lag: 7 },
      { wanted: 3 },
      { wanted: 3 },
    ]);
    clock.nowMs = 1999;
    await of('a');
    expect(asked).toEqual(['a', 'b']);
    clock.nowMs = 2000;
    await of('a');
    expect(asked).toEqual(['a', 'b', 'a']);
  });

  test('A4 tells of a group no more lag than its partitions can use', async () => {
    expect(await desk().of('group')).toMatchObject({ lag: 5.001 });
  });

  test('A4 tells no more lag than what is wanted can use, where the data plane holds back', async () => {
    expect(await desk().of('held')).toMatchObject({ lag: 5.001, reason: 'Held' });
  });

  test('A2 fails where nothing is known', async () => {
    await expect(desk(false).of('a')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const { of, fail } = desk();
    fail();
    await expect(of('a')).rejects.toMatchObject({ code: 'SCALING_UNKNOWN' });
  });
});
