// Which decision a command of life-commands.ts takes.
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import type { QueueState } from './evolve.ts';
import type { LifeCommand } from './life-commands.ts';
import { decideRedriveCancel, decideRedriveNote, decideRedriveStart, decideTake } from './redrive-decide.ts';

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
    case 'take':
      return decideTake(cell, c, state.nextEpoch, at, emit);
  }
}
