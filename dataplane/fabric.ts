// The data plane behind the listeners: opens the shards, wires views and services, and says in which state it
// is.
import type { FlowError } from '@flowmesh/protocol';
import { createDeclarations } from './admin/service.ts';
import { openDataDirectory, spaceOf } from './data-directory.ts';
import { createKvService } from './kv/service.ts';
import { createKvView, type KvView } from './kv/view.ts';
import { createQueueAdmin } from './queue/admin.ts';
import { declaredQueues } from './queue/declared.ts';
import { queueScaling } from './queue/scaling.ts';
import { Queues } from './queue/service.ts';
import { createQueueView, type QueueView } from './queue/view.ts';
import { createHistory } from './replay/history.ts';
import type { Runtime } from './runtime.ts';
import { type ScalingTarget, wantedOf } from './scaling/board.ts';
import { LiveBoard } from './scaling/live-board.ts';
import { FRESH, type ScalingMemory, workersWanted } from './scaling/wanted.ts';
import { createSchemaAdmin } from './schema/admin.ts';
import { Checkers } from './schema/checkers.ts';
import { SchemaRegistry } from './schema/registry.ts';
import { SchemaView } from './schema/view.ts';
import type { AdminService, Fabric, FabricState } from './services.ts';
import { LOOK_MS, type Memory, MemoryWatch } from './shard/memory-watch.ts';
import { type OpenedShard, openShard, type StorageOptions } from './shard/open-shard.ts';
import type { ViewContext } from './shard/state-machine.ts';
import { createStreamService } from './stream/service.ts';
import { createStreamView, type StreamView } from './stream/view.ts';
import { Transactions } from './txn/service.ts';

export interface FabricOptions {
  /** null: everything in memory. */
  readonly dataDir: string | null;
  readonly shards: number;
  /** Given: whose the directory is has been seen to. */
  readonly clusterId?: string | undefined;
  readonly autoCreate: boolean;
  readonly runtime: Runtime;
  readonly version: string;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** A journal failed: nothing can be acknowledged any more, the process must end. */
  readonly onFatal: (error: FlowError) => void;
  readonly storage?: StorageOptions | undefined;
  /** Absent: the memory of the process is not watched. */
  readonly memory?: Memory | undefined;
}

export interface OpenedFabric extends Fabric {
  readonly clusterId: string;
  readonly shards: readonly OpenedShard[];
  drain(): void;
  close(): Promise<void>;
}

const POKE_MS = 1000;

export async function openFabric(o: FabricOptions): Promise<OpenedFabric> {
  const { runtime, dataDir } = o;
  const clusterId =
    o.clusterId ??
    (dataDir === null ? 'ephemeral' : openDataDirectory(dataDir, o.shards, runtime.random).clusterId);
  let state: FabricState = 'starting';
  const listeners: ((state: FabricState) => void)[] = [];
  const setState = (next: FabricState) => {
    if (state === next || state === 'failed') return;
    state = next;
    for (const listener of listeners) listener(next);
  };

  const checkers = new Checkers();
  const memory = o.memory && new MemoryWatch(o.memory);
  const shards: OpenedShard[] = [];
  /** What keeps new data out of any of them; it clears by itself. */
  const showShortage = () => {
    if (state !== 'serving' && state !== 'disk_full' && state !== 'memory_full') return;
    const shortages = shards.map(({ room }) => room.shortage);
    setState(shortages.find((each) => each === 'disk_full') ?? shortages.find(Boolean) ?? 'serving');
  };
  for (let id = 0; id < o.shards; id++) {
    // One for the shard; the views whose writes it checks are made with it.
    let schemas: SchemaView | undefined;
    const schemasOf = (context: ViewContext): SchemaView => {
      schemas ??= new SchemaView(context, checkers);
      return schemas;
    };
    const opened = await openShard({
      id,
      shards: o.shards,
      dir: dataDir === null ? null : `${dataDir}/shard-${id}`,
      runtime,
      storage: o.storage,
      factories: [
        createKvView,
        (context) => createQueueView(context, schemasOf(context)),
        (context) => createStreamView(context, schemasOf(context)),
        schemasOf,
      ],
      log: o.log,
      onFatal: (error) => {
        setState('failed');
        o.onFatal(error);
      },
      onState: showShortage,
      memory,
    });
    shards.push(opened);
  }

  const ports = shards.map((s) => s.shard);
  const viewsOf = <V>(index: number): V[] => shards.map((s) => s.views[index] as unknown as V);
  const schemaViews = viewsOf<SchemaView>(3);
  const queueViews = viewsOf<QueueView>(1);
  const streamViews = viewsOf<StreamView>(2);
  const kv = createKvService({
    shards: ports,
    rows: shards.map((s) => s.rows),
    views: viewsOf<KvView>(0),
    runtime,
  });
  const queues = new Queues({ shards: ports, views: queueViews, autoCreate: o.autoCreate, runtime });
  const registry = new SchemaRegistry({
    shards: ports,
    views: schemaViews,
    checkers,
    random: runtime.random,
    *referrers(tenant) {
      for (const view of queueViews) yield* view.referrers(tenant);
      for (const view of streamViews) yield* view.referrers(tenant);
    },
  });
  const wanted = (target: ScalingTarget) => wantedOf(scaling, target);
  const streams = createStreamService({
    shards: ports,
    views: streamViews,
    schemas: registry,
    autoCreate: o.autoCreate,
    random: runtime.random,
    wanted,
  });
  const scaling: LiveBoard<ScalingMemory> = new LiveBoard({
    queues: queueScaling(
      ports.map((port, i) => ({ view: queueViews[i] as QueueView, nowMs: () => port.nowMs() })),
      (queue) => queues.at(queue).view,
    ),
    groups: streams.scaling,
    isServing: () => state !== 'starting' && state !== 'draining' && state !== 'failed',
    decide: workersWanted,
    fresh: FRESH,
    runtime,
    log: o.log,
  });
  await registry.reconcile();
  await streams.reconcile();
  scaling.recovered();
  queues.start();

  const {
    release: releaseQueue,
    figures: queueFigures,
    ...queueAdmin
  } = createQueueAdmin(queues, queueViews, registry, wanted);
  const { release: releaseSchema, figures: schemaFigures, ...schemaAdmin } = createSchemaAdmin(registry);
  const { release: releaseStream, figures: streamFigures, ...streamAdmin } = streams.admin;
  const declarations = createDeclarations({
    shards: ports,
    things: shards.map((_, i) => [
      declaredQueues((queueViews[i] as QueueView).state),
      (schemaViews[i] as SchemaView).declared,
      (streamViews[i] as StreamView).declared,
    ]),
    // Positions of another life in memory mean nothing in this one.
    origin:
      dataDir === null ? `${clusterId}-${Math.floor(runtime.random() * 2 ** 40).toString(36)}` : clusterId,
    kinds: {
      queue: { release: releaseQueue },
      schema: { release: releaseSchema },
      stream: { release: releaseStream },
    },
    figures: {
      queue: queueFigures,
      schema: schemaFigures,
      stream: streamFigures,
      settled: () => Promise.all(ports.map((port) => port.settled())),
    },
  });
  const admin: AdminService = {
    ...queueAdmin,
    ...schemaAdmin,
    ...streamAdmin,
    ...declarations,
    getScaling: async ({ tenant }, request) => scaling.answer(tenant, request),
    applyKeyspace: (caller, spec) => kv.applyKeyspace(caller, spec),
    listKeyspaces: (caller) => kv.listKeyspaces(caller),
    async getCluster() {
      const shardFigures = shards.map(({ shard, journal, checkpoints, room }) => {
        const { last, bytes } = journal.tail();
        return {
          shard: shard.id,
          state: ['failed', 'closed'].includes(journal.state()) ? 'failed' : (room.shortage ?? 'serving'),
          journalBytes: bytes,
          journalPosition: last,
          durablePosition: shard.durableSeq,
          checkpointPosition: checkpoints.lastSeq,
        };
      });
      const { version, autoCreate } = o;
      const space = dataDir === null ? {} : await spaceOf(dataDir);
      return { version, clusterId, shards: o.shards, autoCreate, shardFigures, ...space };
    },
  };

  let cancelPoke = () => {};
  const poke = () => {
    for (const shard of shards) shard.poke();
    showShortage();
    scaling.look();
    cancelPoke = runtime.after(POKE_MS, poke);
  };
  poke();
  let cancelLook = () => {};
  const look = () => {
    memory?.look();
    cancelLook = runtime.after(LOOK_MS, look);
  };
  if (memory !== undefined) look();
  setState('serving');
  return {
    kv,
    queues,
    streams: streams.service,
    transactions: new Transactions({
      shards: ports,
      isCache: (caller, name) => kv.isCache(caller, name),
      queues,
      streams: streams.transactions,
    }),
    history: createHistory(
      shards.map(({ shard, effects }, i) => ({
        shard,
        effects,
        queues: queueViews[i] as QueueView,
        streams: streamViews[i] as StreamView,
      })),
    ),
    admin,
    scaling,
    clusterId,
    shards,
    state: () => state,
    onState: (listener) => void listeners.push(listener),
    drain: () => setState('draining'),
    async close() {
      cancelPoke();
      cancelLook();
      setState('draining');
      queues.close();
      kv.close();
      for (const shard of shards) await shard.close();
    },
  };
}
