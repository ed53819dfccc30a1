// Partition logs against a list of records: same answers after each step, across segments, checkpoints and
// crashes.
import { decodeBatch } from '@flowmesh/protocol';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CapturedLength, LogStore, type StoredLength } from '../../dataplane/storage/log-store.ts';
import type { SegmentedLog } from '../../dataplane/storage/partition-log.ts';
import { FaultFiles } from './fault-files.ts';
import { batchOf } from './support.ts';

interface Record {
  offset: number;
  timeMs: number;
  text: string;
}

interface ModelLog {
  records: Record[];
  start: number;
  end: number;
  lastTimeMs: number;
}

interface Model {
  logs: Map<number, ModelLog>;
  /** As of the capture on its way, and of the last checkpoint. */
  captured: Map<number, ModelLog> | null;
  saved: Map<number, ModelLog>;
  ids: number[];
}

interface Real {
  files: FaultFiles;
  segmentBytes: number;
  store: LogStore;
  captured: CapturedLength[];
  lengths: Map<number, StoredLength>;
}

type Command = fc.AsyncCommand<Model, Real>;

const small = { tailBytesMax: 2000, loadBytesMax: 1500, unwrittenBytesMax: 4000 };
const open = (
  { files, segmentBytes }: Pick<Real, 'files' | 'segmentBytes'>,
  lengths: readonly StoredLength[],
) => LogStore.open({ dir: '/logs', files, lengths, segmentBytes, ...small });

const copyOf = (logs: Map<number, ModelLog>) =>
  new Map([...logs].map(([id, log]) => [id, { ...log, records: [...log.records] }]));
const modelLog = (m: Model, id: number): ModelLog => {
  const log = m.logs.get(id) ?? { records: [], start: 0, end: 0, lastTimeMs: 0 };
  m.logs.set(id, log);
  return log;
};

const command = (
  name: string,
  run: (m: Model, r: Real) => Promise<void>,
  check = (_: Model) => true,
): Command => ({
  check,
  run,
  toString: () => name,
});

function expectSame(real: SegmentedLog, model: ModelLog): void {
  expect(real.endOffset).toBe(model.end);
  expect(real.startOffset).toBe(model.start);
}

/** Everything from `offset` on, by residence where there is, else from the file. */
async function readAll(log: SegmentedLog, offset: number, maxBytes: number): Promise<Record[]> {
  const records: Record[] = [];
  for (let at = offset; at < log.endOffset; ) {
    const resident = log.resident(at, maxBytes);
    const chunk = resident ?? (await log.load(at, maxBytes));
    if (resident === undefined) expect(log.resident(at, maxBytes)).toEqual(chunk);
    expect(chunk.firstOffset).toBeLessThanOrEqual(at);
    expect(chunk.nextOffset).toBeGreaterThan(at);
    let position = 0;
    let next = chunk.firstOffset;
    while (position < chunk.bytes.length) {
      for (const record of decodeBatch(chunk.bytes, position)) {
        expect(record.offset).toBe(next++);
        if (record.offset >= at) {
          const text = Buffer.from(record.value ?? []).toString();
          records.push({ offset: record.offset, timeMs: record.appendTimeMs, text });
        }
      }
      position += chunk.bytes.readUInt32LE(position);
    }
    expect(next).toBe(chunk.nextOffset);
    at = chunk.nextOffset;
  }
  return records;
}

// A log that is dropped gives its place to one with another id: ids are not used again.
const id = fc.constantFrom(0, 1);
const idAt = (m: Model, place: number) => m.ids[place] ?? 0;
const batch = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  // Up to a batch that is larger than a segment, and than what is copied into blocks.
  bytes: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constant(70_000)),
  laterMs: fc.integer({ min: 0, max: 3 }),
});

function appendTo(
  m: ModelLog,
  log: SegmentedLog,
  b: { count: number; bytes: number; laterMs: number },
): void {
  const timeMs = m.lastTimeMs + b.laterMs;
  m.lastTimeMs = timeMs;
  const texts = Array.from({ length: b.count }, (_, i) => `${m.end + i} `.padEnd(b.bytes, 'x'));
  log.append(batchOf(texts, m.end, timeMs), b.count, timeMs);
  for (const text of texts) m.records.push({ offset: m.end++, timeMs, text });
}

const append = fc.tuple(id, batch).map(([n, b]) =>
  command(`append ${n} ${JSON.stringify(b)}`, async (m, r) => {
    appendTo(modelLog(m, idAt(m, n)), r.store.open(idAt(m, n)), b);
  }),
);
const takeBack = fc.tuple(id, batch, batch, fc.boolean()).map(([n, a, b, again]) =>
  command(`take back ${n} ${JSON.stringify([a, b])}`, async (m, r) => {
    const before = copyOf(m.logs).get(idAt(m, n));
    const log = r.store.open(idAt(m, n));
    appendTo(modelLog(m, idAt(m, n)), log, a);
    const seen = log.resident(log.endOffset - 1, 1000);
    const copy = Buffer.from(seen?.bytes ?? []);
    appendTo(modelLog(m, idAt(m, n)), log, b);
    log.unappend();
    log.unappend();
    if (before === undefined) m.logs.delete(idAt(m, n));
    else m.logs.set(idAt(m, n), before);
    if (again) appendTo(modelLog(m, idAt(m, n)), log, b);
    else modelLog(m, idAt(m, n));
    // B1: what was handed out stays as it was.
    expect(seen?.bytes.equals(copy)).toBe(true);
  }),
);
const read = fc.tuple(id, fc.nat(200), fc.integer({ min: 1, max: 5000 })).map(([n, from, maxBytes]) =>
  command(`read ${n} from +${from} by ${maxBytes}`, async (m, r) => {
    const model = modelLog(m, idAt(m, n));
    const log = r.store.open(idAt(m, n));
    expectSame(log, model);
    if (model.start === model.end) return;
    const offset = model.start + (from % (model.end - model.start));
    expect(await readAll(log, offset, maxBytes)).toEqual(
      model.records.filter((each) => each.offset >= offset),
    );
    expect(() => log.resident(log.endOffset, 1)).not.toThrow();
    await expect(log.load(log.endOffset, 1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
  }),
);
const lookUp = fc.tuple(id, fc.nat(60)).map(([n, timeMs]) =>
  command(`look up ${n} ${timeMs}`, async (m, r) => {
    const model = modelLog(m, idAt(m, n));
    const later = model.records.find((each) => each.timeMs >= timeMs && each.offset >= model.start);
    const log = r.store.open(idAt(m, n));
    expect(await log.offsetAt(timeMs)).toBe(later?.offset ?? model.end);
    // The same number as an offset.
    const first = model.records.find((each) => each.offset >= Math.max(model.start, timeMs));
    expect(await log.timeAt(timeMs)).toBe(first?.timeMs ?? 0);
  }),
);
const trim = fc.tuple(id, fc.nat(30), fc.boolean()).map(([n, by, force]) =>
  command(`trim ${n} ${by} ${force}`, async (m, r) => {
    const model = modelLog(m, idAt(m, n));
    const log = r.store.open(idAt(m, n));
    const target = model.start + by;
    log.trimTo(target, force);
    const exact = Math.max(model.start, Math.min(target, model.end));
    if (force) model.start = exact;
    else {
      expect(log.startOffset).toBeLessThanOrEqual(exact);
      model.start = log.startOffset;
    }
    model.records = model.records.filter((each) => each.offset >= model.start);
  }),
);
const expire = fc.tuple(id, fc.nat(60), fc.nat(5000)).map(([n, olderThanMs, bytesMax]) =>
  command(`expire ${n} ${olderThanMs} ${bytesMax}`, async (m, r) => {
    const model = modelLog(m, idAt(m, n));
    const log = r.store.open(idAt(m, n));
    const byTime = log.expiredOffset({ olderThanMs });
    expect(model.records.filter((each) => each.offset < byTime && each.timeMs >= olderThanMs)).toEqual([]);
    const bySize = log.expiredOffset({ bytesMax });
    expect(bySize).toBeLessThanOrEqual(model.end);
    log.trimTo(bySize);
    model.start = log.startOffset;
    model.records = model.records.filter((each) => each.offset >= model.start);
  }),
);
const drop = id.map((place) =>
  command(`drop ${place}`, async (m, r) => {
    r.store.drop(idAt(m, place));
    m.logs.delete(idAt(m, place));
    m.ids[place] = idAt(m, place) + 2;
  }),
);

async function capture(m: Model, r: Real): Promise<void> {
  m.captured = copyOf(m.logs);
  r.captured = r.store.captureLengths();
}

async function finish(m: Model, r: Real): Promise<void> {
  await r.store.syncTo(r.captured);
  for (const row of r.store.lengthRows(r.captured)) {
    if (row.value === null) r.lengths.delete(Number(row.key.slice('log/'.length)));
    else r.lengths.set(Number(row.key.slice('log/'.length)), JSON.parse(row.value.toString()));
  }
  m.saved = m.captured ?? m.saved;
  m.captured = null;
  await r.store.applyDeletes();
}

const captures = fc.constant(command('capture', capture, (m) => m.captured === null));
const finishes = fc.constant(command('finish', finish, (m) => m.captured !== null));
const drain = fc.constant(
  command('drain', async (_, r) => {
    await r.store.drained();
    expect(r.store.isCongested()).toBe(false);
  }),
);
const crash = fc.tuple(fc.boolean(), fc.integer()).map(([syncs, luck]) =>
  command(`crash ${syncs} ${luck}`, async (m, r) => {
    // The most that may be on disk beyond the checkpoint.
    if (syncs && m.captured !== null) await r.store.syncTo(r.captured);
    await r.store.close();
    let file = 0;
    await r.files.crash(() => ((luck >> (file++ % 30)) & 1) === 1);
    r.store = await open(r, [...r.lengths.values()]);
    m.logs = copyOf(m.saved);
    m.captured = null;
    for (const [n, log] of m.logs) {
      expectSame(r.store.open(n), log);
      expect(await readAll(r.store.open(n), log.start, 1000)).toEqual(log.records);
    }
    // What came after the checkpoint is gone from the directory as well, save what the logs were trimmed by.
    const names = await r.files.list('/logs');
    expect(names.filter((name) => !r.lengths.has(Number(name)))).toEqual([]);
  }),
);

test('[D1] partition logs agree with a list of records, whatever trims and crashes do', async () => {
  const all = [append, append, append, append, takeBack, read, read, lookUp, trim, expire, drop];
  await fc.assert(
    fc.asyncProperty(
      fc.commands([...all, captures, captures, finishes, finishes, drain, crash], {
        maxCommands: 80,
        size: 'max',
      }),
      fc.constantFrom(3000, 300_000),
      async (commands, segmentBytes) => {
        const files = new FaultFiles();
        const store = await open({ files, segmentBytes }, []);
        const real = { files, segmentBytes, store, captured: [], lengths: new Map() };
        const model = { logs: new Map(), captured: null, saved: new Map(), ids: [1, 2] };
        await fc.asyncModelRun(() => ({ model, real }), commands);
        await real.store.close();
      },
    ),
    { numRuns: 60 },
  );
});
