// Decisions about cursors, on the shard of the partition: who may commit, what is committed, where reading
// starts.
//   K1. A commit counts only from the owner and under the epoch that the coordinator granted last.
//   K2. A committed offset is the next to read and never beyond what a consumer can have seen.
//   K3. `latest` becomes a committed offset when it is granted, so that a restart skips nothing.
import { type ErrorCode, FlowError, LIMITS } from '@flowmesh/protocol';
import type { Emit } from '../shard/state-machine.ts';
import type { PartitionCell, StreamCell } from './cells.ts';
import type {
  Commit,
  CommitFailure,
  CommittedReply,
  CursorPlace,
  Grant,
  GrantItem,
  Move,
  MoveItem,
  OffsetCommit,
  Placed,
} from './commands.ts';
import { needPartition, needStream } from './declare.ts';
import { type Committed, type CursorGranted, type CursorMoved, STREAM_EVENT } from './events.ts';
import type { StreamState } from './state.ts';

export function decideGrant(state: StreamState, command: Grant, emit: Emit): Placed {
  const stream = needStream(state, command);
  const partitions = command.items.map((item) => needPartition(stream, item.partition));
  const places = command.items.map((item, i) =>
    grant(partitions[i] as PartitionCell, command.group, item, emit),
  );
  return { kind: 'placed', places };
}

function grant(partition: PartitionCell, group: string, item: GrantItem, emit: Emit): CursorPlace {
  const known = partition.cursors.get(group)?.value;
  const isNewer = item.epoch > (known?.epoch ?? 0);
  const isPinned = item.startFrom === 'latest' && item.owner !== '' && (known?.offset ?? -1) === -1;
  if (isNewer || (isPinned && item.epoch === known?.epoch)) {
    const { stream } = partition;
    emit({
      type: STREAM_EVENT.cursorGranted,
      no: stream.no,
      group,
      partition: item.partition,
      owner: item.owner,
      epoch: item.epoch,
      offset: isPinned ? partition.log.endOffset : -1,
    } as CursorGranted);
  }
  return placeOf(partition, group);
}

export function decideMove(state: StreamState, command: Move, emit: Emit): Placed {
  const stream = needStream(state, command);
  const moves = command.items.map((item) => {
    const partition = needPartition(stream, item.partition);
    return { item, partition, offset: targetOf(stream, partition, item, command.isExact) };
  });
  const places = moves.map(({ item, partition, offset }) => {
    const epoch = partition.cursors.get(command.group)?.value.epoch ?? 0;
    // A newer epoch means a later seek or owner: this one has been overtaken.
    if (item.epoch >= epoch) {
      const { owner } = item;
      const type = STREAM_EVENT.cursorMoved;
      const { group } = command;
      emit({
        type,
        no: stream.no,
        group,
        partition: item.partition,
        owner,
        epoch: item.epoch,
        offset,
      } as CursorMoved);
    }
    return placeOf(partition, command.group);
  });
  return { kind: 'placed', places };
}

function targetOf(stream: StreamCell, { log }: PartitionCell, item: MoveItem, isExact: boolean): number {
  if (item.to === 'earliest') return log.startOffset;
  if (item.to === 'latest') return log.endOffset;
  const inside = Math.min(Math.max(item.to, log.startOffset), log.endOffset);
  if (isExact && inside !== item.to) {
    const place = `partition ${item.partition} of stream ${stream.cell.value.name}`;
    throw new FlowError(
      'OFFSET_OUT_OF_RANGE',
      `${place} holds offsets ${log.startOffset} to ${log.endOffset}, not ${item.to}`,
    );
  }
  return inside;
}

export function decideCommit(state: StreamState, command: Commit, emit: Emit): CommittedReply {
  const stream = needStream(state, command);
  const results = command.offsets.map((offset) => refusal(stream, command, offset));
  if (command.isAllOrNothing) {
    for (const failure of results) if (failure !== null) throw new FlowError(failure.code, failure.message);
  }
  command.offsets.forEach(({ partition, offset, metadata }, i) => {
    if (results[i] !== null) return;
    const { group } = command;
    emit({ type: STREAM_EVENT.committed, no: stream.no, group, partition, offset, metadata } as Committed);
  });
  return { kind: 'committed', results };
}

/** Why an offset is not committed; null: it is. */
function refusal(stream: StreamCell, command: Commit, commit: OffsetCommit): CommitFailure | null {
  const partition = stream.partitions.get(commit.partition);
  const failed = (code: ErrorCode, message: string) => ({ code, message });
  if (partition === undefined) {
    return failed('INVALID_ARGUMENT', `stream ${command.stream} has no partition ${commit.partition}`);
  }
  const cursor = partition.cursors.get(command.group)?.value;
  if (cursor === undefined || cursor.owner !== command.member || cursor.epoch !== commit.epoch) {
    const now = cursor === undefined ? 'nobody owns it' : `its epoch is ${cursor.epoch}`;
    const { partition, epoch } = commit;
    const what = `partition ${partition} is not assigned to ${command.member} under epoch ${epoch}`;
    return failed('MEMBER_FENCED', `${what}: ${now}`);
  }
  const size = Buffer.byteLength(commit.metadata);
  if (size > LIMITS.metadataBytes) {
    return failed(
      'VALUE_TOO_LARGE',
      `metadata of ${size} bytes, at most ${LIMITS.metadataBytes} are accepted`,
    );
  }
  if (commit.offset > partition.visibleEnd) {
    const end = `partition ${commit.partition} ends at ${partition.visibleEnd}`;
    return failed('OFFSET_OUT_OF_RANGE', `${end}; ${commit.offset} cannot have been read`);
  }
  return null;
}

/** Reading continues at the log start when what was committed has been trimmed. */
function placeOf(partition: PartitionCell, group: string): CursorPlace {
  const cursor = partition.cursors.get(group)?.value;
  const offset = Math.max(cursor?.offset ?? 0, partition.log.startOffset);
  return { partition: partition.partition, epoch: cursor?.epoch ?? 0, offset };
}
