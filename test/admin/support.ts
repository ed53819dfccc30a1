// Owners and their declarations, as tests write them.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { aQueue, type Bench, caller } from '../queue/bench.ts';
import { aSpec } from '../stream/support.ts';

export const anOwner = (uid: string, more: Partial<pb.Owner> = {}): pb.Owner => ({
  uid,
  kind: 'Queue',
  namespace: 'default',
  name: uid,
  clusterUid: '',
  ...more,
});

export interface Declaration {
  owner?: pb.Owner;
  generation?: number;
  adoption?: string;
}

const ME = anOwner('me');

/** The same questions about a queue and about a stream. */
export interface Kind {
  readonly kind: 'queue' | 'schema' | 'stream';
  /** Two specs that differ in the one field that `changed` names. */
  readonly one: object;
  readonly other: object;
  readonly changed: { field: string; before: string; after: string };
  declare(bench: Bench, name: string, spec: object, by?: Declaration): Promise<pb.DeclareQueueResponseInput>;
  apply(bench: Bench, name: string, spec: object): Promise<unknown>;
  get(bench: Bench, name: string): Promise<pb.QueueInput | pb.SchemaInput | pb.StreamInput>;
  list(bench: Bench): Promise<readonly (pb.QueueInput | pb.SchemaInput | pb.StreamInput)[]>;
  remove(bench: Bench, name: string, more?: { owner?: pb.Owner; ifEmpty?: boolean }): Promise<unknown>;
}

const terms = ({ owner = ME, generation = 1, adoption = '' }: Declaration = {}) => ({
  owner,
  generation,
  adoption,
});

const queues: Kind = {
  kind: 'queue',
  one: { maxAttempts: 5 },
  other: { maxAttempts: 7, maxDeliveries: 20 },
  changed: { field: 'maxAttempts', before: '5', after: '7' },
  declare: (bench, name, spec, by) =>
    bench.fabric.admin.declareQueue(caller, { spec: aQueue(name, spec), ...terms(by) }),
  apply: (bench, name, spec) => bench.fabric.admin.applyQueue(caller, aQueue(name, spec)),
  get: (bench, name) => bench.fabric.admin.getQueue(caller, { name }),
  list: async (bench) => (await bench.fabric.admin.listQueues(caller)).queues ?? [],
  remove: (
    bench,
    name,
    { owner = null, ifEmpty = false }: { owner?: pb.Owner | null; ifEmpty?: boolean } = {},
  ) => bench.fabric.admin.deleteQueue(caller, { name, owner, ifEmpty, mutation: null }),
};

const streams: Kind = {
  kind: 'stream',
  one: { retentionMs: 5000 },
  other: { retentionMs: 7000 },
  changed: { field: 'retentionMs', before: '5000', after: '7000' },
  declare: async (bench, name, spec, by) => {
    const asked = { spec: aSpec(name, 0, spec), ...terms(by) };
    const { stream: _, ...rest } = await bench.fabric.admin.declareStream(caller, asked);
    return rest;
  },
  apply: (bench, name, spec) => bench.fabric.admin.applyStream(caller, aSpec(name, 0, spec)),
  get: (bench, name) => bench.fabric.admin.getStream(caller, { name }),
  list: async (bench) => (await bench.fabric.admin.listStreams(caller)).streams ?? [],
  remove: (
    bench,
    name,
    { owner = null, ifEmpty = false }: { owner?: pb.Owner | null; ifEmpty?: boolean } = {},
  ) => bench.fabric.admin.deleteStream(caller, { name, owner, ifEmpty, mutation: null }),
};

const aSchema = (name: string, { compatibility = 'none' }: { compatibility?: string }): pb.SchemaSpec => ({
  name,
  compatibility,
  versions: [{ version: 1, fields: '{"id":"string"}', jsonSchema: '', migrate: '' }],
  mutation: null,
});

const schemas: Kind = {
  kind: 'schema',
  one: { compatibility: 'none' },
  other: { compatibility: 'full' },
  changed: { field: 'compatibility', before: 'none', after: 'full' },
  declare: async (bench, name, spec, by) => {
    const { schema: _, ...rest } = await bench.fabric.admin.declareSchema(caller, {
      spec: aSchema(name, spec),
      ...terms(by),
    });
    return rest;
  },
  apply: (bench, name, spec) => bench.fabric.admin.applySchema(caller, aSchema(name, spec)),
  get: (bench, name) => bench.fabric.admin.getSchema(caller, { name }),
  list: async (bench) => (await bench.fabric.admin.listSchemas(caller)).schemas ?? [],
  remove: (bench, name, { owner = null }: { owner?: pb.Owner | null } = {}) =>
    bench.fabric.admin.deleteSchema(caller, { name, owner, mutation: null }),
};

export const kinds: readonly Kind[] = [queues, streams, schemas];

export const release = (bench: Bench, kind: string, name: string, owner: pb.Owner | null = ME) =>
  bench.fabric.admin.releaseOwner(caller, { kind, name, owner, mutation: null });

export const ownershipOf = (of: pb.QueueInput | pb.SchemaInput | pb.StreamInput) => ({
  uid: of.owner?.uid,
  generation: of.generation,
  drifted: of.drifted,
});

export const positions = (bench: Bench): number[] => bench.fabric.shards.map(({ shard }) => shard.durableSeq);
