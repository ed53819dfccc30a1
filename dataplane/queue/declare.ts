// Decisions about a queue as a whole: what it is to be, whose it is, and that it goes.
import { FlowError } from '@flowmesh/protocol';
import { type Change, changesBetween } from '../admin/changes.ts';
import { type Claimed, checkOwner, decideClaim, type Owner } from '../admin/ownership.ts';
import type { Emit } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import type { DeclareCommand, DeleteCommand } from './commands.ts';
import * as ev from './events.ts';
import type { QueueState } from './evolve.ts';
import { refuseOrphans } from './flow-decide.ts';
import { OWNED, type Owned } from './owner-events.ts';
import { specMessage } from './policy.ts';
import type { ResolvedSpec } from './tables.ts';

export interface DeclareReply {
  readonly queueNo: number;
  /** Of declarations with an owner. */
  readonly result?: Claimed['result'];
  readonly changes?: readonly Change[];
  readonly drifted?: boolean;
}

export function decideDeclare(state: QueueState, command: DeclareCommand, emit: Emit): DeclareReply {
  const { name, spec, claim, ifAbsent } = command;
  const { tenant } = command.caller;
  const present = state.cell(tenant, name);
  const queueNo = present?.queueNo ?? state.nextQueue;
  if (claim === undefined) {
    const isSame = present !== undefined && JSON.stringify(present.spec) === JSON.stringify(spec);
    if (present === undefined || !(ifAbsent || isSame)) emitDeclared({ queueNo, tenant, name, spec }, emit);
    return { queueNo };
  }
  const known = present && { ownership: present.ownership, changes: changesOf(present, spec) };
  const { result, changes, drifted, ownership } = decideClaim(`queue ${name}`, known, claim);
  if (present === undefined || changes.length > 0) emitDeclared({ queueNo, tenant, name, spec }, emit);
  if (ownership !== null) emit({ type: OWNED, queueNo, ownership } as Owned);
  return { queueNo, result, changes, drifted };
}

/** Of what is in effect: a dead-letter queue that is named as it would be by default is no change. */
const changesOf = ({ name, spec }: QueueCell, next: ResolvedSpec): Change[] =>
  changesBetween(specMessage(name, spec), specMessage(name, next));

const emitDeclared = (what: Omit<ev.Declared, 'type'>, emit: Emit): void =>
  emit({ type: ev.DECLARED, ...what } as ev.Declared);

/** Throws unless the queue may go. */
export function checkDelete(cell: QueueCell, { ifEmpty, owner }: DeleteCommand): void {
  if (owner !== undefined) checkOwner(`queue ${cell.name}`, cell.ownership, owner);
  if (ifEmpty && cell.depth > 0)
    throw new FlowError('NOT_EMPTY', `queue ${cell.name} holds ${cell.depth} jobs`);
  refuseOrphans(cell);
}

export function decideRelease(cell: QueueCell, owner: Owner | undefined, emit: Emit): { released: boolean } {
  if (cell.ownership === null) return { released: false };
  if (owner !== undefined) checkOwner(`queue ${cell.name}`, cell.ownership, owner);
  emit({ type: OWNED, queueNo: cell.queueNo, ownership: null } as Owned);
  return { released: true };
}
