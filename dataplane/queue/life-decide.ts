// Which decision a command of life-commands.ts takes.
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import { cancelReads, decideCancel } from './cancel.ts';
import type { QueueCell } from './cell.ts';
import type { QueueCommand } from './commands.ts';
import type { QueueState } from './evolve.ts';
import type { LifeCommand } from './life-commands.ts';
import * as life from './life-events.ts';
import { decideRedriveCancel, decideRedriveNote, decideRedriveStart, decideTake } from './redrive-decide.ts';
import { decideReport, reportReads } from './reports.ts';

const KINDS: ReadonlySet<string> = new Set<LifeCommand['kind']>([
  'redrive-start',
  'redrive-note',
  'redrive-cancel',
  'take',
  'report',
  'cancel',
  'drain',
]);

export const isLifeCommand = (command: QueueCommand): command is LifeCommand => KINDS.has(command.kind);

/** Rows that deciding needs. */
export function lifeReads(rows: Rows, cell: QueueCell | undefined, c: LifeCommand): readonly RowRef[] {
  if (cell === undefined) return NO_ROWS;
  if (c.kind === 'report') return reportReads(cell, c.offset);
  return c.kind === 'cancel' ? cancelReads(rows, cell, c) : NO_ROWS;
}

const NO_ROWS: readonly RowRef[] = [];

export function decideLife(
  state: QueueState,
  cell: QueueCell,
  c: LifeCommand,
  at: Moment,
  emit: Emit,
): unknown {
  switch (c.kind) {
    case 'redrive-start':
      return decideRedriveStart(cell, c, at, emit);
    case 'redrive-note':
      return decideRedriveNote(cell, c, at, emit);
    case 'redrive-cancel':
      return decideRedriveCancel(cell, at, emit);
    case 'drain':
      emit({ type: life.DRAINING, queueNo: cell.queueNo, draining: c.draining } as life.Draining);
      return { unfinished: cell.depth };
    case 'cancel':
      return decideCancel(state.context.rows, cell, c, at, emit);
    case 'report':
      return decideReport(state.context.rows, cell, c, at, emit);
    case 'take':
      return decideTake(cell, c, state.nextEpoch, at, emit);
  }
}
