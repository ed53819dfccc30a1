// Decisions about consumer groups at the stream's home shard: who is a member and who owns which partition.
//   G1. A partition has at most one owner; it passes on only when the owner has said it stopped, or is gone.
//   G2. The epoch of a partition grows with each new owner and each seek, and never goes back.
//   G3. A change moves only the partitions that must move; members keep working on the others.
import { FlowError } from '@flowmesh/protocol';
import type { Emit } from '../shard/state-machine.ts';
import { decideAssignment, NOBODY } from './assignment.ts';
import type { GroupCell, StreamCell } from './cells.ts';
import type { Done, GroupReply, Join, Leave, Release, Reposition, Repositioned } from './commands.ts';
import { DONE } from './commands.ts';
import { needStream, partitionNotFound } from './declare.ts';
import {
  type Assigned,
  type GroupCreated,
  type MemberJoined,
  type MemberLeft,
  type Revoking,
  STREAM_EVENT,
} from './events.ts';
import type { StreamState } from './state.ts';

export function decideJoin(state: StreamState, command: Join, emit: Emit): GroupReply {
  const stream = needStream(state, command);
  const { member, client, startFrom } = command;
  const group = needGroup(stream, command.group, emit);
  const known = group.members.get(member)?.cell.value;
  // A member that comes back as it was changes nothing: the others do not even notice.
  if (known !== undefined && known.client === client && known.startFrom === startFrom) return epochOf(group);
  const type = STREAM_EVENT.memberJoined;
  emit({ type, no: stream.no, group: group.group, member, client, startFrom } as MemberJoined);
  rebalance(group, emit);
  return epochOf(group);
}

export function decideLeave(state: StreamState, command: Leave, emit: Emit): Done {
  const group = needStream(state, command).groups.get(command.group);
  if (group?.members.has(command.member)) removeMember(group, command.member, emit);
  return DONE;
}

/** It left, or its session timed out; its partitions go to others at once. */
export function removeMember(group: GroupCell, member: string, emit: Emit): void {
  const { no } = group.stream;
  emit({ type: STREAM_EVENT.memberLeft, no, group: group.group, member } as MemberLeft);
  rebalance(group, emit);
}

export function decideRelease(state: StreamState, command: Release, emit: Emit): Done {
  const group = needStream(state, command).groups.get(command.group);
  for (const partition of command.partitions) {
    const row = group?.assignments.get(partition)?.value;
    // Anything else is a late word about an assignment that has passed on already.
    if (group === undefined || row === undefined || row.target === null || row.owner !== command.member)
      continue;
    assign(group, partition, row.target, row.epoch + 1, emit);
  }
  return DONE;
}

export function decideReposition(state: StreamState, command: Reposition, emit: Emit): Repositioned {
  const stream = needStream(state, command);
  for (const partition of command.partitions) {
    if (partition >= stream.cell.value.partitions) throw partitionNotFound(stream, partition);
  }
  const group = needGroup(stream, command.group, emit);
  const items = command.partitions.map((partition) => {
    const row = group.assignments.get(partition)?.value;
    const owner = row?.owner ?? NOBODY;
    const epoch = (row?.epoch ?? 0) + 1;
    assign(group, partition, owner, epoch, emit);
    if (row !== undefined && row.target !== null) revoke(group, partition, row.target, emit);
    return { partition, owner, epoch };
  });
  return { kind: 'repositioned', items };
}

/**
 * Moves partitions towards a balanced assignment: what is free at once, what is owned by asking the owner
 * first.
 */
export function rebalance(group: GroupCell, emit: Emit): void {
  const { partitions } = group.stream.cell.value;
  const rows = Array.from({ length: partitions }, (_, p) => group.assignments.get(p)?.value);
  const current = rows.map((row) => row?.target ?? row?.owner ?? NOBODY);
  const next = decideAssignment([...group.members.keys()], partitions, current);
  for (let p = 0; p < partitions; p++) {
    const row = rows[p];
    const owner = row?.owner ?? NOBODY;
    const target = next[p] ?? NOBODY;
    if (owner !== NOBODY && group.members.has(owner)) {
      // Once asked to stop, the owner is waited for even if it may keep the partition after all: it may have
      // stopped.
      if (target !== (row?.target ?? owner)) revoke(group, p, target, emit);
    } else if (target !== owner) assign(group, p, target, (row?.epoch ?? 0) + 1, emit);
  }
}

export function groupNotFound(stream: string, group: string): FlowError {
  return new FlowError('GROUP_NOT_FOUND', `stream ${stream} has no consumer group ${group}`);
}

const epochOf = (group: GroupCell): GroupReply => ({ kind: 'group', epoch: group.cell.value.epoch });

function needGroup(stream: StreamCell, name: string, emit: Emit): GroupCell {
  const known = stream.groups.get(name);
  if (known !== undefined) return known;
  const initialPartitions = stream.cell.value.partitions;
  emit({ type: STREAM_EVENT.groupCreated, no: stream.no, group: name, initialPartitions } as GroupCreated);
  return stream.groups.get(name) as GroupCell;
}

function assign(group: GroupCell, partition: number, owner: string, epoch: number, emit: Emit): void {
  const { no } = group.stream;
  emit({ type: STREAM_EVENT.assigned, no, group: group.group, partition, owner, epoch } as Assigned);
}

function revoke(group: GroupCell, partition: number, target: string, emit: Emit): void {
  const { no } = group.stream;
  emit({ type: STREAM_EVENT.revoking, no, group: group.group, partition, target } as Revoking);
}
