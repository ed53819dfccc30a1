// Gauges and totals of the fabric, filled in one go at each scrape.
//   F1. One refresh at a time: scrapes that come together share it.
//   F2. At most NAMES_MAX queues and as many streams carry their name; the others are only counted.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Counter, Gauge, type Registry } from 'prom-client';
import { createGroupFigures } from './group-figures.ts';
import { createSpeedFigures } from './speed-figures.ts';

interface Asker {
  readonly identity: string;
  readonly tenant: number;
  readonly deadlineMs: number;
}

/** The part of the fabric that figures come from. */
export interface FiguresSource {
  readonly admin: {
    listQueues(caller: Asker): Promise<pb.ListQueuesResponseInput>;
    listStreams(caller: Asker): Promise<pb.ListStreamsResponseInput>;
    listKeyspaces(caller: Asker): Promise<pb.ListKeyspacesResponseInput>;
    getCluster(caller: Asker): Promise<pb.ClusterInput>;
  };
  readonly streams: {
    listGroups(caller: Asker, request: pb.ListGroupsRequest): Promise<pb.ListGroupsResponseInput>;
  };
  state(): string;
}

const NAMES_MAX = 1000;
const STATES = ['starting', 'serving', 'disk_full', 'memory_full', 'draining', 'failed'];
/** The default tenant: there is one so far. */
const METRICS: Asker = { identity: 'metrics', tenant: 1, deadlineMs: 0 };

const JOB_STATES = ['waiting', 'delayed', 'blocked', 'leased'] as const;

export interface Figures {
  refresh(): Promise<void>;
  gauge(name: string, help: string, labelNames: string[]): Gauge;
}

export function createFigures(source: FiguresSource, registry: Registry): Figures {
  const registers = [registry];
  const all: (Gauge | Counter)[] = [];
  const gauge = (name: string, help: string, labelNames: string[]) =>
    new Gauge({ name, help, labelNames, registers });

  const figure = (name: string, help: string, labelNames: string[]) => {
    const made = gauge(`flowmesh_${name}`, help, labelNames);
    all.push(made);
    return (value: number | null | undefined, labels: Record<string, string | number>) =>
      made.set(labels, value ?? 0);
  };
  const total = (name: string, help: string, labelNames: string[]) => {
    const made = new Counter({ name: `flowmesh_${name}`, help, labelNames, registers });
    all.push(made);
    return (value: number | null | undefined, labels: Record<string, string | number>) =>
      made.inc(labels, value ?? 0);
  };

  const up = gauge('flowmesh_up', 'Whether the fabric answered when it was asked for figures.', []);
  const state = gauge('flowmesh_state', '1 for the state that the fabric is in.', ['state']);
  const omitted = figure('metrics_omitted', 'Queues, streams and groups beyond the limit of names.', [
    'kind',
  ]);

  const jobs = figure('queue_jobs', 'Jobs by state.', ['queue', 'state']);
  const enqueued = total('queue_enqueued_total', 'Jobs ever enqueued.', ['queue']);
  const completed = total('queue_completed_total', 'Jobs ever completed.', ['queue']);
  const failed = total('queue_failed_total', 'Attempts that failed or timed out.', ['queue']);
  const dead = total('queue_dead_total', 'Jobs ever moved to the dead-letter queue.', ['queue']);
  const oldest = figure(
    'queue_oldest_ready_timestamp_seconds',
    'When the oldest ready job became ready; 0: none.',
    ['queue'],
  );
  const workers = figure('queue_workers', 'Workers that are connected or hold jobs.', ['queue']);
  const speed = createSpeedFigures(figure, 'queue', 'worker', ['queue']);
  const paused = figure('queue_paused', '1 while the queue is paused.', ['queue']);

  const partition = ['stream', 'partition'];
  const logStart = figure('stream_log_start_offset', 'First offset that is kept.', partition);
  const logEnd = figure('stream_end_offset', 'Offset of the next record.', partition);
  const logBytes = figure('stream_bytes', 'Bytes kept.', partition);

  const readGroups = createGroupFigures(figure);

  const keys = figure('kv_keys', 'Keys, by keyspace.', ['keyspace']);
  const cacheBytes = figure('kv_cache_bytes', 'Memory that a cache takes.', ['keyspace']);
  const cacheBound = figure('kv_cache_max_bytes', 'Memory that a cache may take.', ['keyspace']);
  const evicted = total('kv_evicted_total', 'Keys that a cache let go to make room.', ['keyspace']);

  const journalBytes = figure('shard_journal_bytes', 'Bytes of the journal kept.', ['shard']);
  const position = figure('shard_journal_position', 'Last position written.', ['shard']);
  const durable = figure('shard_durable_position', 'Last position that is durable.', ['shard']);
  const checkpoint = figure('shard_checkpoint_position', 'Position of the last checkpoint.', ['shard']);
  const shardState = figure('shard_state', '1 for the state that the shard is in.', ['shard', 'state']);

  function showQueue({ spec, paused: isPaused, figures }: pb.QueueInput): void {
    const queue = spec?.name ?? '';
    for (const each of JOB_STATES) jobs(figures?.[each], { queue, state: each });
    jobs(figures?.waitingChildren, { queue, state: 'waiting_children' });
    enqueued(figures?.enqueuedTotal, { queue });
    completed(figures?.completedTotal, { queue });
    failed(figures?.failedTotal, { queue });
    dead(figures?.deadTotal, { queue });
    oldest((figures?.oldestReadyAtMs ?? 0) / 1000, { queue });
    workers(figures?.workers, { queue });
    speed(figures, { queue });
    paused(isPaused ? 1 : 0, { queue });
  }

  function showStream({ spec, partitions }: pb.StreamInput): void {
    for (const each of partitions ?? []) {
      const labels = { stream: spec?.name ?? '', partition: each.partition ?? 0 };
      logStart(each.logStart, labels);
      logEnd(each.end, labels);
      logBytes(each.bytes, labels);
    }
  }

  function showShard(each: pb.ShardFiguresInput): void {
    const shard = each.shard ?? 0;
    journalBytes(each.journalBytes, { shard });
    position(each.journalPosition, { shard });
    durable(each.durablePosition, { shard });
    checkpoint(each.checkpointPosition, { shard });
    shardState(1, { shard, state: each.state ?? '' });
  }

  const groupSource = {
    listGroups: (stream: string) => source.streams.listGroups(METRICS, { stream }),
  };

  async function readFabric(): Promise<void> {
    for (const each of STATES) state.set({ state: each }, source.state() === each ? 1 : 0);
    const { admin } = source;
    const answers = await Promise.all([
      admin.listQueues(METRICS),
      admin.listStreams(METRICS),
      admin.listKeyspaces(METRICS),
      admin.getCluster(METRICS),
    ]).catch(() => undefined);
    const shownStreams = (answers?.[1].streams ?? []).slice(0, NAMES_MAX);
    const showGroups = await readGroups(
      groupSource,
      shownStreams.map(({ spec }) => spec?.name ?? ''),
    );
    for (const each of all) each.reset();
    up.set(answers ? 1 : 0);
    if (!answers) return;
    const [{ queues = [] }, { streams = [] }, { keyspaces = [] }, { shardFigures = [] }] = answers;
    queues?.slice(0, NAMES_MAX).forEach(showQueue);
    streams?.slice(0, NAMES_MAX).forEach(showStream);
    for (const { name, keys: count, mode, ...cache } of keyspaces?.slice(0, NAMES_MAX) ?? []) {
      const keyspace = { keyspace: name ?? '' };
      keys(count, keyspace);
      if (mode !== 'cache') continue;
      cacheBytes(cache.bytes, keyspace);
      cacheBound(cache.maxBytes, keyspace);
      evicted(cache.evictedTotal, keyspace);
    }
    shardFigures?.forEach(showShard);
    omitted(Math.max(0, (queues?.length ?? 0) - NAMES_MAX), { kind: 'queue' });
    omitted(Math.max(0, (streams?.length ?? 0) - NAMES_MAX), { kind: 'stream' });
    omitted(showGroups(), { kind: 'group' });
  }

  let underWay: Promise<void> | undefined;
  return {
    gauge,
    refresh() {
      underWay ??= readFabric().finally(() => {
        underWay = undefined;
      });
      return underWay;
    },
  };
}
