// Decides what becomes of a dead-letter queue's redrive task. Owns its state, which lies in the queue's cell.
//   R1. One task runs at a time; it is bounded by what lies in the queue when it starts, so that jobs which
//       die again at once do not keep it going for ever.
//   R2. A step and what it says of its progress are one entry; a task that was cancelled takes no step more.
import { FlowError } from '@flowmesh/protocol';
import type { Emit, Moment } from '../shard/state-machine.ts';
import { readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import type { RemoveCommand } from './commands.ts';
import * as ev from './events.ts';
import type { RedriveNoteCommand, RedriveStartCommand, TakeCommand } from './life-commands.ts';
import * as life from './life-events.ts';
import type { JobMeta } from './tables.ts';

export interface RedriveTask {
  readonly no: number;
  readonly state: 'running' | 'done' | 'cancelled' | 'failed';
  /** Empty: each job's source. */
  readonly target: string;
  readonly max: number;
  readonly perSecond: number;
  readonly parkAfter: number;
  /** Jobs from here on died after it started. */
  readonly untilOffset: number;
  readonly moved: number;
  readonly parked: number;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly error: string;
}

/** A step that died is brought to its end at the next start: until then nobody else must have its jobs. */
const TAKE_MS = 12 * 3_600_000;
/** Whom the leases of a task show as their worker. */
export const takerName = (no: number): string => `redrive ${no}`;

const change = (cell: QueueCell, task: RedriveTask, emit: Emit): RedriveTask => {
  emit({ type: life.REDRIVE_CHANGED, queueNo: cell.queueNo, task } as life.RedriveChanged);
  return task;
};

export function decideRedriveStart(
  cell: QueueCell,
  { target, max, perSecond, parkAfter }: RedriveStartCommand,
  at: Moment,
  emit: Emit,
): RedriveTask {
  const before = cell.redrive;
  if (before?.state === 'running') {
    const started = new Date(before.startedAtMs).toISOString();
    throw new FlowError('ALREADY_EXISTS', `a redrive of ${cell.name} has been running since ${started}`);
  }
  const task: RedriveTask = {
    no: (before?.no ?? 0) + 1,
    state: 'running',
    ...{ target, max, perSecond, parkAfter },
    untilOffset: cell.log.endOffset,
    ...{ moved: 0, parked: 0, startedAtMs: at.nowMs, endedAtMs: 0, error: '' },
  };
  return change(cell, task, emit);
}

/** The task `no`, which must be running. */
function running(cell: QueueCell, no: number): RedriveTask {
  const task = cell.redrive;
  if (task?.no === no && task.state === 'running') return task;
  throw new FlowError('REVISION_MISMATCH', `redrive ${no} of queue ${cell.name} is over`);
}

export function decideRedriveNote(
  cell: QueueCell,
  c: RedriveNoteCommand,
  at: Moment,
  emit: Emit,
): RedriveTask {
  const task = running(cell, c.no);
  const [moved, parked] = [task.moved + c.moved, task.parked + c.parked];
  const ended = c.end === null ? {} : { state: c.end, endedAtMs: at.nowMs, error: c.error };
  return change(cell, { ...task, moved, parked, ...ended }, emit);
}

export function decideRedriveCancel(cell: QueueCell, at: Moment, emit: Emit): RedriveTask {
  const task = cell.redrive;
  if (task === null) throw new FlowError('NOT_FOUND', `queue ${cell.name} was never redriven by a task`);
  if (task.state !== 'running') return task;
  return change(cell, { ...task, state: 'cancelled', endedAtMs: at.nowMs }, emit);
}

/** Entries of the ready index that were looked at, if still first and the cursor is where it was. */
export function unmoved(
  cell: QueueCell,
  looked: Pick<RemoveCommand, 'fromCursor' | 'ready'>,
): { offset: number; meta: JobMeta }[] {
  const ready = cell.ready
    .take(looked.ready.length)
    .map((row) => ({ offset: readU53be(row.key, row.key.length - 7), meta: row.value }));
  const same =
    ready.length === looked.ready.length && ready.every((job, i) => job.offset === looked.ready[i]);
  if (cell.state.cursor !== looked.fromCursor || !same)
    throw new FlowError('REVISION_MISMATCH', `queue ${cell.name} moved on while its jobs were looked at`);
  return ready;
}

/** Answers the epoch of each job, in the order ready, plain. */
export function decideTake(
  cell: QueueCell,
  c: TakeCommand,
  nextEpoch: number,
  at: Moment,
  emit: Emit,
): { firstEpoch: number } {
  running(cell, c.no);
  const singles = unmoved(cell, c).map((job, i) => ({
    ...job,
    epoch: nextEpoch + i,
    from: 'ready' as const,
  }));
  const runs = c.plain.map((offset, i) => ({ offset, count: 1, epoch: nextEpoch + singles.length + i }));
  emit({
    type: ev.LEASED,
    queueNo: cell.queueNo,
    sessionId: '',
    worker: takerName(c.no),
    deadlineMs: at.nowMs + TAKE_MS,
    cursor: c.toCursor,
    runs,
    singles,
  } as ev.Leased);
  return { firstEpoch: nextEpoch };
}
