// What a job leaves behind beside its attempts: progress, log lines, result, and how it ended.
//   N1. All of it is bounded: LINES_MAX lines of LINE_BYTES_MAX, one progress, one result.
//   N2. Only the holder of the lease may say something of a job, under its epoch.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { ReportCommand } from './life-commands.ts';
import * as life from './life-events.ts';
import { LOG_LINE, type LogLine, OUTCOME, type Outcome, REPORT, RESULT } from './life-tables.ts';

export const LINES_MAX = 100;
const LINE_BYTES_MAX = 4096;
const PROGRESS_BYTES_MAX = 4096;
export const RESULT_BYTES_MAX = 64 * 1024;

export function checkReport({ progress, log }: pb.ReportRequest): void {
  if (log.length > LINES_MAX)
    throw new FlowError('BATCH_TOO_LARGE', `${log.length} log lines in one report, at most ${LINES_MAX}`);
  const long = log.find((line) => Buffer.byteLength(line) > LINE_BYTES_MAX);
  if (long !== undefined)
    throw new FlowError('VALUE_TOO_LARGE', `log line of ${long.length} characters, at most 4 KiB are kept`);
  if (Buffer.byteLength(progress) > PROGRESS_BYTES_MAX)
    throw new FlowError('VALUE_TOO_LARGE', `progress of ${progress.length} characters, at most 4 KiB`);
  if (progress === '') return;
  try {
    JSON.parse(progress);
  } catch {
    throw new FlowError('MALFORMED', 'progress is not JSON');
  }
}

export function checkResult(bytes: Uint8Array): void {
  if (bytes.length > RESULT_BYTES_MAX)
    throw new FlowError('VALUE_TOO_LARGE', `result of ${bytes.length} bytes, at most 64 KiB are kept`);
}

export const reportReads = (cell: QueueCell, offset: number): RowRef[] => [
  { table: REPORT, key: cell.life.key(REPORT, offset) },
];

export function decideReport(
  rows: Rows,
  cell: QueueCell,
  { offset, epoch, progress, lines }: ReportCommand,
  at: Moment,
  emit: Emit,
): Record<string, never> {
  if (cell.held(offset, epoch) === undefined)
    throw new FlowError('LEASE_LOST', `the lease of job ${offset} in queue ${cell.name} is no longer held`);
  const before = rows.get(REPORT, cell.life.key(REPORT, offset));
  const said =
    progress === ''
      ? { progress: before?.progress ?? '', progressAtMs: before?.progressAtMs ?? 0 }
      : { progress, progressAtMs: at.nowMs };
  const { queueNo } = cell;
  const firstLine = before?.lines ?? 0;
  emit({ type: life.REPORTED, queueNo, offset, firstLine, lines, ...said } as life.Reported);
  return {};
}

export function evolveReported(rows: Rows, cell: QueueCell, e: life.Reported, at: Moment): void {
  const { offset, firstLine, lines, progress, progressAtMs } = e;
  const key = cell.life.key(REPORT, offset);
  rows.put(REPORT, key, { lines: firstLine + lines.length, progress, progressAtMs });
  lines.forEach((text, i) => {
    const number = firstLine + i;
    rows.put(LOG_LINE, cell.life.lineKey(offset, number % LINES_MAX), { number, atMs: at.nowMs, text });
  });
}

export function evolveKept(rows: Rows, cell: QueueCell, e: life.Kept, at: Moment): void {
  const { offset, contentType, value } = e;
  rows.put(RESULT, cell.life.key(RESULT, offset), { atMs: at.nowMs, contentType, value });
}

export function recordOutcome(rows: Rows, cell: QueueCell, offset: number, outcome: Outcome): void {
  rows.put(OUTCOME, cell.life.key(OUTCOME, offset), outcome);
}

export const remainReads = (cell: QueueCell, offset: number): RowRef[] =>
  [OUTCOME, REPORT, RESULT].map((table) => ({ table, key: cell.life.key(table, offset) }));

/** What is known of how a job went. The rows must be resident. */
export const remainsOf = (rows: Rows, cell: QueueCell, offset: number) => ({
  report: rows.get(REPORT, cell.life.key(REPORT, offset)),
  result: rows.get(RESULT, cell.life.key(RESULT, offset)),
  outcome: rows.get(OUTCOME, cell.life.key(OUTCOME, offset)),
});

export async function loadLines(rows: Rows, cell: QueueCell, offset: number): Promise<LogLine[]> {
  const from = cell.life.lineKey(offset, 0);
  const to = cell.life.lineKey(offset, LINES_MAX);
  const found = await rows.scan(LOG_LINE, { from, to, limit: LINES_MAX });
  return found.map(({ value }) => value).sort((a, b) => a.number - b.number);
}
