// Planted bugs: each breaks one promise in one place. `npm run test:mutants` applies them one at a time to a
// copy of the sources and runs what must notice: the simulation, or the named test where that says more.
//   M1. `find` occurs exactly once in its file: a mutant whose text is gone fails the run and is written new.
import { features } from './features.ts';

export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** The promise that it breaks. */
  readonly why: string;
  /** A test file; else seeds of the simulation. */
  readonly test?: string;
}

const journal: readonly Mutant[] = [
  {
    name: 'skip-journal-sync',
    file: 'dataplane/journal/embedded.ts',
    find: '    await active.file.sync();\n',
    replace: '',
    why: 'an acknowledged entry is on disk',
  },
  {
    name: 'ack-before-sync',
    file: 'dataplane/journal/embedded.ts',
    find: '    await active.file.write(pieces, active.end);\n    await active.file.sync();\n',
    replace: '    await active.file.write(pieces, active.end);\n    void active.file.sync();\n',
    why: 'an acknowledgement leaves after the sync',
  },
  {
    name: 'swallow-sync-error',
    file: 'dataplane/journal/embedded.ts',
    find: 'await active.file.sync();',
    replace: 'await active.file.sync().catch(() => undefined);',
    why: 'nothing is acknowledged after a failed sync',
  },
  {
    name: 'swallow-write-error',
    file: 'dataplane/journal/embedded.ts',
    find: 'await active.file.write(pieces, active.end);',
    replace: 'await active.file.write(pieces, active.end).catch(() => undefined);',
    why: 'nothing is acknowledged after a failed write',
  },
  {
    name: 'drop-entry-crc',
    file: 'dataplane/journal/codec.ts',
    find: 'return crc32(payload) === bytes.readUInt32LE(at + 40) ? payload : undefined;',
    replace: 'return payload;',
    why: 'a torn entry is not taken for a whole one',
  },
  {
    name: 'trust-the-page-cache',
    file: 'dataplane/journal/recovery.ts',
    find: 'if (tail.unproven.length > 0)',
    replace: 'if (tail.unproven.length < 0)',
    why: 'what is taken over is written and synced again',
    test: 'test/journal/crash.test.ts test/journal/faults.test.ts test/journal/recovery.test.ts',
  },
  {
    name: 'keep-torn-tail',
    file: 'dataplane/journal/recovery.ts',
    find: 'if (tail.clearedBytes > 0) await',
    replace: 'if (tail.clearedBytes < 0) await',
    why: 'what a crash left of an entry does not come back',
    test: 'test/journal/crash.test.ts test/journal/recovery.test.ts',
  },
  {
    name: 'skip-directory-sync',
    file: 'dataplane/journal/segments.ts',
    find: '    await this.#files.syncDirectory(dir);\n',
    replace: '',
    why: 'the name of a segment is on disk before an entry in it is acknowledged',
  },
  {
    name: 'accept-stale-fence',
    file: 'dataplane/journal/embedded.ts',
    find: 'if (fence !== this.#epoch) return',
    replace: 'if (fence < 0) return',
    why: 'a deposed owner writes nothing',
    test: 'test/journal/contract.test.ts',
  },
  {
    name: 'accept-wrong-sequence',
    file: 'dataplane/journal/embedded.ts',
    find: 'if (expect !== this.#nextSeq)',
    replace: 'if (expect < 0)',
    why: 'sequences are dense',
    test: 'test/journal/contract.test.ts',
  },
];

const checkpoints: readonly Mutant[] = [
  {
    name: 'trim-before-checkpoint',
    file: 'dataplane/shard/checkpoint.ts',
    find: '      await logs.syncTo(frozen.lengths);\n',
    replace: '      await journal.trim(frozen.position.seq);\n      await logs.syncTo(frozen.lengths);\n',
    why: 'the journal keeps what no checkpoint has',
  },
  {
    name: 'unsynced-rows',
    file: 'dataplane/storage/row-batch.ts',
    find: 'await batch.write({ sync: true });',
    replace: 'await batch.write({ sync: false });',
    why: 'a checkpoint is on disk before the journal is trimmed',
  },
  {
    name: 'unsynced-logs',
    file: 'dataplane/storage/log-writer.ts',
    find: "await this.#handles.use(segment.path, 'existing', (file) => file.sync());\n",
    replace: '',
    why: 'records are on disk before the journal is trimmed',
  },
  {
    name: 'unsynced-log-names',
    file: 'dataplane/storage/log-store.ts',
    find: '      await this.#synced(this.#files.syncDirectory(this.#directory(log.id)));\n',
    replace: '',
    why: 'the name of a log segment is on disk with it',
  },
  {
    name: 'do-not-cut-logs',
    file: 'dataplane/storage/log-recovery.ts',
    find: 'const isBehind = base > length.segmentBase ||',
    replace: 'const isBehind = base < 0 ||',
    why: 'recovery cuts logs to the checkpoint',
  },
  {
    name: 'swallow-rows-error',
    file: 'dataplane/storage/row-batch.ts',
    find: 'await batch.write({ sync: true });',
    replace: 'await batch.write({ sync: true }).catch(() => undefined);',
    why: 'a checkpoint that failed is none',
  },
  {
    name: 'push-out-while-fetching',
    file: 'dataplane/storage/row-store.ts',
    find: 'this.#kept.keep(each);\n    }\n',
    replace: 'this.#kept.keep(each);\n      return;\n    }\n',
    why: 'rows that were fetched are there to be read',
    test: 'test/storage/row-store.test.ts',
  },
  {
    name: 'drop-row-crc',
    file: 'dataplane/storage/row-codec.ts',
    find: 'if (crc32(value, crc32(key)) !== stored.readUInt32LE(end)) {',
    replace: 'if (end < 0) {',
    why: 'a damaged row is not shown',
    test: 'test/storage/row-store.test.ts',
  },
];

const shard: readonly Mutant[] = [
  {
    name: 'read-before-durable',
    file: 'dataplane/shard/shard.ts',
    find: '    if (!open.isEmpty && !isOlder) return open;\n',
    replace:
      '    if (!commands.some((c) => c.mutates)) return null;\n' +
      '    if (!open.isEmpty && !isOlder) return open;\n',
    why: 'no read shows what a crash takes back',
  },
  {
    name: 'forget-repeats',
    file: 'dataplane/shard/producers.ts',
    find: '    if (slot?.seq === m.seq) return slot.reply;\n',
    replace: '',
    why: 'a repeat is carried out once',
  },
  {
    name: 'lose-replies-at-restart',
    file: 'dataplane/shard/producers.ts',
    find: 'of this.#producers) {\n      for (const slot of producer.dirty)',
    replace: 'of [...this.#producers].slice(1e6)) {\n      for (const slot of producer.dirty)',
    why: 'a repeat after a restart is carried out once',
  },
  {
    name: 'forget-producers-after-outage',
    file: 'dataplane/shard/producers.ts',
    find: 'const lastMs = Math.max(producer.lastMs, this.#sinceMs);',
    replace: 'const lastMs = producer.lastMs;',
    why: 'a repeat after an outage is carried out once',
    test: 'test/sim/regressions.test.ts',
  },
  {
    name: 'keep-events-of-refused-transactions',
    file: 'dataplane/shard/shard.ts',
    find: '      this.#open.writer.length = mark;\n      throw error;',
    replace: '      throw error;',
    why: 'a refused transaction leaves nothing',
  },
  {
    name: 'keep-rows-of-refused-transactions',
    file: 'dataplane/storage/row-store.ts',
    find: 'for (let i = undo.length - 1; i >= 0; i--) undo[i]?.();',
    replace: '',
    why: 'a refused transaction leaves nothing',
  },
  {
    name: 'wrong-shard-clock',
    file: 'dataplane/shard/clock.ts',
    find: 'Math.max(runtime.wallMs(), lastEntryMs)',
    replace: 'runtime.wallMs()',
    why: 'time never goes back',
    test: 'test/shard/clock.test.ts',
  },
];

const queues: readonly Mutant[] = [
  {
    name: 'accept-stale-lease',
    file: 'dataplane/queue/cell.ts',
    find: 'grant.firstEpoch + offset - grant.firstOffset === epoch ? grant : undefined;',
    replace: 'epoch > 0 ? grant : undefined;',
    why: 'a stale epoch changes nothing',
  },
  {
    name: 'reuse-epochs',
    file: 'dataplane/queue/flush.ts',
    find: '{ nextQueue, nextEpoch, deletedAt });',
    replace: '{ nextQueue, nextEpoch: Math.min(1, nextEpoch), deletedAt });',
    why: 'an epoch is one lease',
  },
  {
    name: 'deliver-before-durable',
    file: 'dataplane/queue/dispatch.ts',
    find: 'emit(event, () => waiter.deliver(granted));',
    replace: 'emit(event);\n    waiter.deliver(granted);',
    why: 'a delivery leaves when its lease is durable',
  },
  {
    name: 'forget-dedup-row',
    file: 'dataplane/queue/evolve.ts',
    find: '      rows.put(DEDUP, keys.dedupKey(d.key), { offset: d.offset, untilMs: d.untilMs });\n',
    replace: '',
    why: 'a dedup key is one job',
  },
  {
    name: 'ignore-lanes',
    file: 'dataplane/queue/enqueue.ts',
    find: '    if (lane !== undefined) {\n',
    replace: '    if (lane !== undefined && lane.head < 0) {\n',
    why: 'jobs of a key run in order, one at a time',
  },
  {
    name: 'lose-cursor-at-checkpoint',
    file: 'dataplane/queue/cell.ts',
    find: '      state: { ...this.state },\n',
    replace: '      state: { ...this.state, cursor: Math.max(0, this.state.cursor - 1) },\n',
    why: 'an acked job does not come again',
  },
  {
    name: 'lose-leases-at-checkpoint',
    file: 'dataplane/queue/lease-clock.ts',
    find: '      rows.put(LEASE, cell.keys.leaseKey(offset),',
    replace: '      if (epoch < 0) rows.put(LEASE, cell.keys.leaseKey(offset),',
    why: 'a leased job is acked or comes again',
  },
  {
    name: 'evolve-without-undo',
    file: 'dataplane/queue/evolve.ts',
    find: '    rows.onRollback(() => cell.log.unappend());\n',
    replace: '',
    why: 'a refused transaction leaves nothing',
  },
  {
    name: 'end-leases-early',
    file: 'dataplane/queue/dispatch.ts',
    find: '      deadlineMs,\n      cursor,\n',
    replace: '      deadlineMs: deadlineMs - 300,\n      cursor,\n',
    why: 'a lease lasts as long as the worker was told',
  },
];

const keysAndStreams: readonly Mutant[] = [
  {
    name: 'show-expired-keys',
    file: 'dataplane/kv/turn.ts',
    find: 'row.expireAtMs === 0 || row.expireAtMs > this.nowMs) return row;',
    replace: 'row.expireAtMs >= 0) return row;',
    why: 'an expired key is absent, however late the sweeper is',
    test: 'test/kv/strings.test.ts',
  },
  {
    name: 'ignore-revisions',
    file: 'dataplane/kv/strings.ts',
    find: '      (ifRevision !== 0 && meta?.revision !== ifRevision)\n',
    replace: '      (ifRevision < 0 && meta?.revision !== ifRevision)\n',
    why: 'compare-and-set compares',
  },
  {
    name: 'commit-for-anybody',
    file: 'dataplane/stream/cursors.ts',
    find: 'cursor.owner !== command.member || cursor.epoch !== commit.epoch',
    replace: 'cursor.epoch < 0',
    why: 'a fenced member commits nothing',
  },
  {
    name: 'lose-commits-at-checkpoint',
    file: 'dataplane/stream/state.ts',
    find: '    this.cells.set(cursor, { ...cursor.value, offset, metadata, committedAtMs: at.nowMs });\n',
    replace: '    Object.assign(cursor.value, { offset, metadata });\n',
    why: 'a committed offset is there after a restart',
  },
];

/** What only the order of two syncs shows: each has a test that holds one of them back. */
const orders: readonly Mutant[] = [
  {
    name: 'checkpoint-before-its-entry',
    file: 'dataplane/shard/checkpoint.ts',
    find: '      await durable();\n',
    replace: '',
    why: 'a checkpoint holds nothing that the journal may lose',
    test: 'test/shard/checkpoint-waits.test.ts',
  },
  {
    name: 'feed-before-durable',
    file: 'dataplane/stream/feed.ts',
    find: '    const { log, visibleEnd } = this.partition;\n',
    replace: '    const { log } = this.partition;\n    const visibleEnd = log.endOffset;\n',
    why: 'a record leaves when it is durable',
    test: 'test/crash/reads-wait.test.ts',
  },
];

export const mutants: readonly Mutant[] = [
  ...orders,
  ...journal,
  ...checkpoints,
  ...shard,
  ...queues,
  ...keysAndStreams,
  ...features,
];
