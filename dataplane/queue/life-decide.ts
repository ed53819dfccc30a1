// Which decision a command of life-commands.ts takes.
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef } from '../storage/contract.ts';
import type { QueueCell } from './cell.ts';
import type { QueueCommand } from './commands.ts';
import type { QueueState } from './evolve.ts';
import type { LifeCommand } from './life-commands.ts';
import { decideRedriveCancel, decideRedriveNote, decideRedriveStart, decideTake } from './redrive-decide.ts';
import { decideReport, reportReads } from './reports.ts';

const KINDS: ReadonlySet<string> = new Set<LifeCommand['kind']>([
  'redrive-start',
  'redrive-note',
  'redrive-cancel',
  'take',
  'report',
]);

export const isLifeCommand = (command: QueueCommand): command is LifeCommand => KINDS.has(command.kind);

/** Rows that deciding needs. */
export function lifeReads(cell: QueueCell | undefined, c: LifeCommand): readonly RowRef[] {
  return cell !== undefined && c.kind === 'report' ? reportReads(cell, c.offset) : NO_ROWS;
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
    case 'report':
      return decideReport(state.context.rows, cell, c, at, emit);
    case 'take':
      return decideTake(cell, c, state.nextEpoch, at, emit);
  }
}
