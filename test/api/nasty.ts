// Messages that are well-formed and mean trouble: edges of numbers, empty and huge names, batches with lies
// in them.

import { encodeBatch, sealBody } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { seeded } from '../support/seeded.ts';

/** Chooses among nasty values. */
export function randomFrom(seed: number) {
  const next = seeded(seed);
  return {
    chance: (p: number) => next() < p,
    pick: <T>(all: readonly T[]): T => all[Math.floor(next() * all.length)] as T,
  };
}

export const NUMBERS = [0, 1, 2, 255, 256, 1e6, 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64];
const TEXTS = [
  '',
  'q',
  'q.dead',
  's',
  'g',
  '{tag}q',
  '0-1-0',
  '0-1-zzzz',
  '__proto__',
  '\0',
  '\ufeffü',
  'x'.repeat(2000),
];
const BYTES = [
  Buffer.alloc(0),
  Buffer.from('k'),
  Buffer.from([0, 255]),
  Buffer.alloc(1025),
  Buffer.alloc(200_000),
];

export type Random = ReturnType<typeof randomFrom>;

interface AnyType {
  toObject(message: unknown, options: object): Record<string, unknown>;
  create(): unknown;
}

/** Names of message types by field; the codec does not tell. */
const NESTED: Record<string, string> = {
  mutation: 'Mutation',
  backoff: 'Backoff',
  ops: 'KvOp',
  jobs: 'NewJob',
  records: 'NewRecord',
  settlements: 'Settlement',
  offsets: 'CommitOffset',
  envelope: 'Envelope',
  cause: 'Cause',
  get: 'KvGet',
  set: 'KvSet',
  delete: 'KvDelete',
  expire: 'KvExpire',
  increment: 'KvIncrement',
  inspect: 'KvInspect',
  scan: 'KvScan',
  hashSet: 'HashSet',
  hashGet: 'HashGet',
  hashDelete: 'HashDelete',
  hashIncrement: 'HashIncrement',
  hashScan: 'HashScan',
  setAdd: 'SetAdd',
  setRemove: 'SetRemove',
  setContains: 'SetContains',
  setScan: 'SetScan',
  sortedSetAdd: 'SortedSetAdd',
  sortedSetRemove: 'SortedSetRemove',
  sortedSetScore: 'SortedSetScore',
  sortedSetIncrement: 'SortedSetIncrement',
  sortedSetRange: 'SortedSetRange',
  ack: 'Ack',
  nack: 'Nack',
  extend: 'Extend',
  schedules: 'Schedule',
  scaling: 'Scaling',
  consumerGroups: 'ConsumerGroupSpec',
  scaledObjectRef: 'ScaledObjectRef',
};

const CONDITIONS = [
  'queue_lag > 10_000',
  'stream_lag > 1',
  'message_age > 30s',
  'throughput < 0.5/s',
  'x < 1',
];
const SCALERS: Record<string, string>[] = [
  {},
  { queue: 'q', metric: 'lag' },
  { stream: 's', group: 'g', metric: 'demand' },
  { queue: 'q', stream: 's', metric: '__proto__' },
];

const ONE_OF = [
  'get',
  'set',
  'delete',
  'expire',
  'increment',
  'inspect',
  'scan',
  'hashSet',
  'hashGet',
  'hashDelete',
]
  .concat('hashIncrement', 'hashScan', 'setAdd', 'setRemove', 'setContains', 'setScan', 'sortedSetAdd')
  .concat('sortedSetRemove', 'sortedSetScore', 'sortedSetIncrement', 'sortedSetRange');

export function messageOf(name: string, random: Random, depth = 0): Record<string, unknown> {
  if (name === 'KvOp') {
    const op = random.pick(ONE_OF);
    return { [op]: messageOf(NESTED[op] ?? '', random, depth + 1) };
  }
  if (name === 'TransactionOp') {
    const op = random.pick(['kv', 'enqueue', 'settle', 'publish', 'commit']);
    const type = {
      kv: 'KvRequest',
      enqueue: 'EnqueueRequest',
      settle: 'SettleRequest',
      publish: 'PublishRequest',
    };
    return { [op]: messageOf(type[op as 'kv'] ?? 'CommitRequest', random, depth + 1) };
  }
  const type = (pb as unknown as Record<string, AnyType>)[name];
  if (!type) throw new Error(`no message ${name}`);
  const blank = type.toObject(type.create(), { defaults: true, arrays: true, objects: true });
  const fields = Object.keys(Object.getPrototypeOf(type.create())).filter((field) => NESTED[field]);
  const filled: Record<string, unknown> = {};
  for (const field of new Set([...Object.keys(blank), ...fields])) {
    if (random.chance(0.25)) continue;
    filled[field] = nastyValue(name, field, { blank: blank[field], random, depth });
  }
  if (name === 'Settlement')
    for (const field of ['ack', 'nack', 'extend']) if (random.chance(0.6)) delete filled[field];
  return filled;
}

interface Hint {
  readonly blank: unknown;
  readonly random: Random;
  readonly depth: number;
}

function nastyValue(message: string, field: string, { blank, random, depth }: Hint): unknown {
  const nested = message === 'TransactionRequest' && field === 'ops' ? 'TransactionOp' : NESTED[field];
  if (Array.isArray(blank)) {
    const count = random.pick([0, 1, 1, 2, 5]);
    return Array.from({ length: count }, () => {
      if (nested && depth < 4) return messageOf(nested, random, depth + 1);
      if (field === 'members' && message.startsWith('SortedSetAdd')) {
        return { member: random.pick(BYTES), score: random.pick([Number.NaN, Infinity, -0, 1.5]) };
      }
      if (message === 'HashSet') return { field: random.pick(BYTES), value: random.pick(BYTES) };
      if (field === 'basedOn') return random.pick([...CONDITIONS, ...TEXTS]);
      return field === 'tags' || field === 'log' ? random.pick(TEXTS) : random.pick(BYTES);
    });
  }
  if (nested && depth < 4) return messageOf(nested, random, depth + 1);
  if (typeof blank === 'number') return random.pick(NUMBERS);
  if (typeof blank === 'boolean') return random.chance(0.5);
  if (typeof blank === 'string') return random.pick(TEXTS);
  if (blank instanceof Uint8Array) return random.pick(BYTES);
  if (field === 'scalerMetadata') return random.pick(SCALERS);
  if (field === 'headers') return { [random.pick(TEXTS)]: random.pick(BYTES) };
  return undefined;
}

export function nastySettle(random: Random) {
  const some = <T>(make: () => T) => (random.chance(0.5) ? [make()] : []);
  const place = () => ({ offset: random.pick(NUMBERS), epoch: random.pick(NUMBERS) });
  return {
    seq: random.pick(NUMBERS),
    acks: some(() => ({ ...place(), count: random.pick([0, 1, 2, 1000, 2 ** 32 - 1]) })),
    nacks: some(() => ({ ...place(), nack: random.pick([undefined, messageOf('Nack', random)]) })),
    extends: some(() => ({ ...place(), visibilityMs: random.pick(NUMBERS) })),
  };
}

/** A good batch, or one with a byte changed, cut short, or with a length that lies. */
export function nastyBatch(random: Random): Buffer {
  const batch = encodeBatch([
    { value: Buffer.from('a'), contentType: 'text/plain' },
    {
      value: Buffer.alloc(100),
      key: Buffer.from('k'),
      delayMs: 1,
      headers: new Map([['h', Buffer.from('v')]]),
    },
  ]);
  const damage = random.pick(['none', 'byte', 'sealed byte', 'cut', 'length', 'empty']);
  if (damage === 'cut') return batch.subarray(0, random.pick([1, 39, 40, 41, batch.length - 1]));
  if (damage === 'empty') return Buffer.alloc(0);
  if (damage === 'length')
    batch.writeUInt32LE(random.pick([0, 39, 2 ** 31, 2 ** 32 - 1]), random.pick([0, 32, 36]));
  if (damage.endsWith('byte')) batch[random.pick([...batch.keys()])] = random.pick([0, 1, 127, 128, 255]);
  // With a right checksum the damage gets past the first check.
  if (damage === 'sealed byte' || damage === 'length') sealBody(batch);
  return batch;
}
