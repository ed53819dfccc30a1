// Opens a shard: storage at its last checkpoint, then the journal behind it, event by event, then a new
// owner's fence.
import { FlowError } from '@flowmesh/protocol';
import { type EmbeddedJournal, openEmbeddedJournal } from '../journal/embedded.ts';
import type { JournalFiles } from '../journal/files.ts';
import type { Journal } from '../journal/journal.ts';
import { openMemoryJournal } from '../journal/memory.ts';
import type { Runtime } from '../runtime.ts';
import { DEFAULT_TENANT } from '../storage/keys.ts';
import { type LevelDb, type LevelPlace, openLevel } from '../storage/level.ts';
import type { LogFiles } from '../storage/log-files.ts';
import { LogStore, type StoredLength } from '../storage/log-store.ts';
import { RowStore } from '../storage/row-store.ts';
import { Checkpoints, LENGTH_ROWS, POSITION_ROW, type Position } from './checkpoint.ts';
import { ShardClock } from './clock.ts';
import { Effects } from './effects.ts';
import type { MemoryWatch } from './memory-watch.ts';
import { Producers } from './producers.ts';
import { Room } from './room.ts';
import { Shard } from './shard.ts';
import type { View, ViewContext, ViewFactory } from './state-machine.ts';

/** Sizes, and what is below: tests and the simulation choose their own. */
export interface StorageOptions {
  readonly files?: JournalFiles;
  readonly logFiles?: LogFiles;
  /** The database for the rows in this directory. */
  readonly rows?: (dir: string) => LevelDb;
  readonly segmentBytes?: number;
  /** In memory, waiting for the disk; beyond it more data is refused. */
  readonly unwrittenBytesMax?: number;
  /** Of the journal, behind the last checkpoint. */
  readonly historyBytes?: number;
  readonly logSegmentBytes?: number;
  /** Bound of each cache: rows that were fetched, ends of logs, what was read back of them. */
  readonly cacheBytesMax?: number;
  /** Bound of the memory for keys and their values, of all shards together. */
  readonly keysBytesMax?: number;
  /** For hashes of keys, so that nobody can choose keys that meet. */
  readonly seed?: number;
  /** Journal bytes after which a checkpoint is due. */
  readonly checkpointBytes?: number;
}

export interface OpenShardOptions {
  readonly id: number;
  readonly shards: number;
  /** null: everything in memory. */
  readonly dir: string | null;
  readonly runtime: Runtime;
  readonly factories: readonly ViewFactory[];
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** The journal failed: the process must end. */
  readonly onFatal: (error: FlowError) => void;
  /** Each change of what the disk allows. */
  readonly onState: (state: 'ready' | 'full' | 'failed' | 'closed') => void;
  readonly storage?: StorageOptions | undefined;
  /** Of the process. */
  readonly memory?: MemoryWatch | undefined;
}

export interface OpenedShard {
  readonly shard: Shard;
  readonly effects: Effects;
  readonly rows: RowStore;
  readonly views: readonly View[];
  readonly journal: Journal;
  readonly checkpoints: Checkpoints;
  readonly room: Room;
  /** Once a second. */
  poke(): void;
  close(): Promise<void>;
}

/** A million keys of 100 B with room to spare. */
const KEYS_BYTES_MAX = 256 * 1024 * 1024;
/** During recovery a checkpoint is written at this size, while as much again is replayed. */
const REPLAY_ROWS_BYTES = 24 * 1024 * 1024;

/** Rejects with everything closed that was opened. */
export async function openShard(o: OpenShardOptions): Promise<OpenedShard> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    return await openParts(o, (part) => {
      opened.push(part);
      return part;
    });
  } catch (error) {
    for (const part of opened.reverse()) await part.close().catch(() => {});
    throw error;
  }
}

async function openParts(
  o: OpenShardOptions,
  opened: <T extends { close(): Promise<void> }>(part: T) => T,
): Promise<OpenedShard> {
  const { runtime, dir, log } = o;
  const { rows: openRows, logFiles, logSegmentBytes, cacheBytesMax, seed } = o.storage ?? {};
  const keysBytesMax = o.storage?.keysBytesMax ?? KEYS_BYTES_MAX;
  const level = await openLevel(rowsPlace(dir, openRows));
  const packed = { bytesMax: Math.ceil(keysBytesMax / o.shards) };
  const rows = opened(new RowStore({ level, monotonicMs: runtime.monotonicMs, cacheBytesMax, packed, seed }));
  const saved = await rows.getMeta(POSITION_ROW);
  if (saved === undefined) rows.declareEmpty();
  const position: Position =
    saved === undefined ? { seq: 0, timeMs: 0 } : (JSON.parse(saved.toString()) as Position);
  const lengths = (await rows.listMeta(LENGTH_ROWS)).map(
    ({ value }) => JSON.parse(value.toString()) as StoredLength,
  );
  const logs = opened(
    await LogStore.open({
      dir: dir === null ? null : `${dir}/logs`,
      lengths,
      files: logFiles,
      segmentBytes: logSegmentBytes,
      tailBytesMax: cacheBytesMax,
      loadBytesMax: cacheBytesMax,
    }),
  );
  const journal = opened(await openJournal(o));
  const { first, last, lastTimeMs } = journal.tail();
  if (last < position.seq || first > position.seq + 1) {
    throw new FlowError(
      'DATA_DAMAGED',
      `the journal in ${dir}/journal has ${first} to ${last}, but the checkpoint in ${dir}/rows stands at ` +
        `${position.seq}: files are missing; restore from a backup`,
    );
  }
  let wake = () => {};
  let showsTime: ViewContext['showsTime'] = () => {};
  const context: ViewContext = {
    shard: o.id,
    shards: o.shards,
    rows,
    logs,
    random: runtime.random,
    wallMs: runtime.wallMs,
    wake: () => wake(),
    showsTime: (timeMs) => showsTime(timeMs),
  };
  const producers = new Producers(context, DEFAULT_TENANT);
  const views = o.factories.map((make) => make(context));
  const effects = new Effects(context, () => journal.tail().first);
  const all: View[] = [producers, effects, ...views];
  for (const view of all) await view.load();

  const checkpoints = new Checkpoints(
    {
      shards: o.shards,
      rows,
      logs,
      journal,
      views: all,
      runtime,
      journalBytes: o.storage?.checkpointBytes,
      log,
      onFatal: o.onFatal,
    },
    position.seq,
  );
  opened({ close: () => checkpoints.settled() });
  const room = new Room({ journal, rows, logs, memory: o.memory }, o.storage?.unwrittenBytesMax);
  const clock = new ShardClock(runtime, Math.max(lastTimeMs, position.timeMs));
  let entryBytes = 0;
  const parts = {
    id: o.id,
    shards: o.shards,
    runtime,
    clock,
    rows,
    journal,
    producers,
    effects,
    views: all,
    fence: await journal.fence(),
    room,
    onFatal: o.onFatal,
    afterSeal: (seq: number, timeMs: number, bytes: number) => {
      entryBytes = bytes;
      checkpoints.consider({ seq, timeMs }, entryBytes, () => shard.durable(seq));
    },
  };
  const shard = new Shard(parts, position);
  wake = shard.wake;
  showsTime = shard.showsTime;
  const startedMs = runtime.monotonicMs();
  let replayed = 0;
  if (last > position.seq) {
    logs.beginReplay();
    for await (const { seq, timeMs, payload } of journal.read(position.seq + 1, { isFleeting: true })) {
      shard.replay(seq, timeMs, payload);
      replayed += payload.length;
      if (rows.dirtyBytes > REPLAY_ROWS_BYTES) {
        await checkpoints.settled();
        void checkpoints.run({ seq, timeMs }, async () => {});
      }
      if (logs.isCongested()) await logs.drained();
    }
    logs.endReplay();
    log('shard.recovered', {
      shard: o.id,
      from: position.seq,
      to: last,
      bytes: replayed,
      ms: Math.round(runtime.monotonicMs() - startedMs),
    });
  }
  journal.onState(o.onState);
  shard.wake();
  return {
    shard,
    effects,
    rows,
    views,
    journal,
    checkpoints,
    room,
    poke() {
      (journal as Partial<EmbeddedJournal>).poke?.();
      // On a full disk nothing may be sealed that would make it think of one.
      if (journal.state() === 'full' && shard.isQuiet)
        checkpoints.consider({ seq: shard.durableSeq, timeMs: clock.nowMs() }, 0, async () => {});
    },
    async close() {
      await shard.close();
      if (!checkpoints.isHeld)
        await checkpoints.run({ seq: shard.durableSeq, timeMs: clock.nowMs() }, async () => {});
      await journal.close();
      await logs.close();
      await rows.close();
    },
  };
}

function rowsPlace(dir: string | null, open: StorageOptions['rows']): LevelPlace {
  if (dir === null) return { memory: true };
  return open === undefined ? { dir: `${dir}/rows` } : { dir: `${dir}/rows`, db: open(`${dir}/rows`) };
}

function openJournal(o: OpenShardOptions): Promise<Journal> | Journal {
  if (o.dir === null) return openMemoryJournal();
  const { files, segmentBytes, historyBytes } = o.storage ?? {};
  return openEmbeddedJournal({
    files,
    segmentBytes,
    historyBytes,
    dir: `${o.dir}/journal`,
    nowMs: o.runtime.wallMs,
    onFatal: o.onFatal,
    log: o.log,
  });
}
