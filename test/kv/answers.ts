// Random operations on few keys against the model: the same answers after each step, with clocks that move,
// sweeps that come when they come, restarts and checkpoints in between. The subject may be a bench of fake
// shards or of real ones.

import type { KvOpInput, KvResult } from '@flowmesh/protocol/gen/flowmesh.js';
import fc from 'fast-check';
import { expect } from 'vitest';
import { type Expected, Model } from './model.ts';
import { type Asking, b } from './support.ts';

const KEYS = ['a', 'b\0', 'b\0\x01c', '{t}d'];
const NAMES = ['', 'f', 'f\0', '\xff'];

/** What the property needs of a bench. */
export interface Subject extends Pick<Asking, 'clock' | 'all' | 'one' | 'keys' | 'counts'> {
  idle(): Promise<void>;
  readonly size: number;
  advance(ms: number): void;
  tick(): void;
  checkpoint(): Promise<void> | void;
  /** Rows in full, in any form that can be compared. */
  dump(): Promise<unknown> | unknown;
  restart(): Promise<void>;
  /** Rows left, by table. */
  remains(): Promise<Record<number, number>[]> | Record<number, number>[];
  close(): Promise<void> | void;
}

interface Asked {
  readonly key: string;
  readonly name: string;
  readonly body: object;
  /** Which revision is the condition: the present one, another, none. */
  readonly when: '' | 'same' | 'other';
}
type Step =
  | { kind: 'request'; asked: Asked[] }
  | { kind: 'advance'; ms: number }
  | { kind: 'tick' | 'idle' | 'restart' | 'checkpoint' };

const name = fc.constantFrom(...NAMES).map((text) => Buffer.from(text, 'latin1'));
const names = fc.array(name, { minLength: 1, maxLength: 3 });
const value = fc.constantFrom('', 'x', '0', '7', '-3').map(b);
const ttlMs = fc.constantFrom(0, 0, 5, 7, 20);
const score = fc.constantFrom(-1.5, 0, 2);

const set = fc.record({
  value,
  ttlMs,
  keepTtl: fc.boolean(),
  ifAbsent: fc.boolean(),
  ifPresent: fc.boolean(),
});
const puts = { minLength: 1, maxLength: 3 };
const fields = fc.array(fc.record({ field: name, value }), puts);
const scored = fc.array(fc.record({ member: name, score }), puts);
const amount = fc.integer({ min: -2, max: 2 });
const nothing = fc.constant({});

const bodies: [string, fc.Arbitrary<object>][] = [
  ['get', nothing],
  ['set', fc.record({ value, ttlMs })],
  ['set', set.map((s) => ({ ...s, ttlMs: s.keepTtl ? 0 : s.ttlMs, ifPresent: s.ifPresent && !s.ifAbsent }))],
  ['delete', nothing],
  ['expire', fc.record({ ttlMs })],
  ['increment', fc.record({ delta: amount })],
  ['inspect', nothing],
  ['hashSet', fc.record({ fields })],
  ['hashGet', fc.record({ fields: names })],
  ['hashDelete', fc.record({ fields: names })],
  ['hashIncrement', fc.record({ field: name, integer: amount })],
  ['setAdd', fc.record({ members: names })],
  ['setContains', fc.record({ members: names })],
  ['setRemove', fc.record({ members: names })],
  ['sortedSetAdd', fc.record({ members: scored })],
  ['sortedSetScore', fc.record({ members: names })],
  ['sortedSetRemove', fc.record({ members: names })],
  ['sortedSetIncrement', fc.record({ member: name, delta: score })],
];

const asked: fc.Arbitrary<Asked> = fc.oneof(
  ...bodies.map(([name, body]) =>
    fc.record({
      key: fc.constantFrom(...KEYS),
      name: fc.constant(name),
      body,
      when: fc.constantFrom('' as const, '' as const, 'same' as const, 'other' as const),
    }),
  ),
);

function opOf({ key, name, body, when }: Asked, revision: number): KvOpInput {
  const takesRevision = (name === 'set' || name === 'delete') && when !== '';
  const ifRevision = when === 'same' && revision > 0 ? revision : revision + 1000;
  return { [name]: { ...body, key: Buffer.from(key, 'latin1'), ...(takesRevision ? { ifRevision } : {}) } };
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .array(asked, { minLength: 1, maxLength: 4 })
      .map((list) => ({ kind: 'request' as const, asked: list })),
  },
  { weight: 4, arbitrary: fc.constantFrom(1, 5, 20).map((ms) => ({ kind: 'advance' as const, ms })) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom('tick' as const, 'idle' as const, 'restart' as const, 'checkpoint' as const)
      .map((kind) => ({ kind })),
  },
);

export interface Effort {
  readonly numRuns: number;
  readonly stepsMax: number;
  /** Lives are short, or shrinking them takes for ever. */
  readonly endOnFailure?: boolean;
}

export async function answersAsModel(open: () => Promise<Subject> | Subject, effort: Effort): Promise<void> {
  const steps = fc.array(step, { minLength: 10, maxLength: effort.stepsMax });
  const property = fc.asyncProperty(steps, async (list) => {
    const bench = await open();
    try {
      const model = bench.size === 1 ? new Model() : new ModelPerShard();
      model.nowMs = bench.clock.nowMs;
      for (const one of list) await take(one, bench, model);
      await compareAll(bench, model);
      await cleanUp(bench);
    } finally {
      await bench.close();
    }
  });
  await fc.assert(property, { numRuns: effort.numRuns, endOnFailure: effort.endOnFailure ?? false });
}

/** Revisions are unique per shard, so across shards they do not grow. */
class ModelPerShard extends Model {
  override learn(key: string, expected: Expected, result: KvResult): string | undefined {
    this.newest = 0;
    return super.learn(key, expected, result);
  }
}

async function take(step: Step, bench: Subject, model: Model): Promise<void> {
  if (step.kind === 'request') await request(step.asked, bench, model);
  else if (step.kind === 'advance') {
    bench.advance(step.ms);
    model.nowMs += step.ms;
  } else if (step.kind === 'tick') bench.tick();
  else if (step.kind === 'idle') await bench.idle();
  else if (step.kind === 'checkpoint') await bench.checkpoint();
  else {
    const before = { rows: await bench.dump(), counts: await bench.counts() };
    await bench.restart();
    const after = { rows: await bench.dump(), counts: await bench.counts() };
    expect(after).toEqual(before);
  }
}

async function request(asked: readonly Asked[], bench: Subject, model: Model): Promise<void> {
  // The condition names a revision before the request, so only the first operation on a key can know it.
  const ops = asked.map((one) => opOf(one, model.live(one.key)?.revision ?? 0));
  const results = await bench.all(ops);
  asked.forEach(({ key }, i) => {
    const op = ops[i] as KvOpInput;
    const result = results[i] as KvResult;
    const expected = model.apply(key, op);
    expect({ op, ...seen(result, expected) }).toEqual({ op, ...expected.shows });
    expect(model.learn(key, expected, result)).toBeUndefined();
  });
}

/** Of the result, what the model speaks of. */
function seen(result: KvResult, { shows }: Expected): Record<string, unknown> {
  if (result.error !== null) return { error: result.error.code };
  const shown: Record<string, unknown> = {};
  for (const field of Object.keys(shows)) shown[field] = result[field as 'integer'];
  if ('value' in shows) shown['value'] = result.value.toString('latin1');
  if (Array.isArray(shows['entries'])) {
    shown['entries'] = result.entries.map(({ found, score, value }, i) => {
      if (!found) return null;
      return typeof (shows['entries'] as unknown[])[i] === 'number' ? score : value.toString('latin1');
    });
  }
  return shown;
}

/** Every key by its scan, and the books of each keyspace. */
async function compareAll(bench: Subject, model: Model): Promise<void> {
  const alive = KEYS.filter((key) => model.live(key) !== undefined);
  expect(await bench.keys()).toEqual(alive.map((key) => Buffer.from(key, 'latin1').toString()).sort());
  for (const text of alive) {
    const entry = model.live(text);
    const key = Buffer.from(text, 'latin1');
    const ops = {
      string: [],
      hash: [{ hashScan: { key } }],
      set: [{ setScan: { key } }],
      zset: [{ sortedSetRange: { key } }],
    };
    for (const op of ops[entry?.type ?? 'string']) {
      const { entries } = await bench.one(op);
      const found = entries.map(({ name, value, score }) => [
        name.toString('latin1'),
        entry?.type === 'zset' ? score : value.toString('latin1'),
      ]);
      const order = (x: unknown[], y: unknown[]) =>
        Number(entry?.type === 'zset' && Number(x[1]) - Number(y[1])) ||
        (String(x[0]) < String(y[0]) ? -1 : 1);
      expect(found).toEqual([...(entry?.members ?? [])].sort(order));
    }
  }
  await bench.idle();
  expect(await bench.counts()).toEqual(alive.length === 0 ? {} : { default: alive.length });
}

/** When all keys are deleted and swept, no row is left. */
async function cleanUp(bench: Subject): Promise<void> {
  await bench.all(KEYS.map((key) => ({ delete: { key: Buffer.from(key, 'latin1') } })));
  await bench.idle();
  await bench.checkpoint();
  for (const rows of await bench.remains()) expect({ 24: 1, ...rows }).toEqual({ 24: 1 });
}
