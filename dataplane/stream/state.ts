// The streams of one shard in memory, and what each event does to them. Decides nothing.
//   T1. evolve reads no rows and never fails on an event of its own journal (M2).
//   T2. Memory after replay is the same as it was live; only session deadlines and watchers are not part of
//       it.
import assert from 'node:assert/strict';
import type { OnChange } from '../admin/declared.ts';
import type { Moment } from '../shard/state-machine.ts';
import type { Logs, Rows } from '../storage/contract.ts';
import { type Cell, Cells, type GroupCell, type PartitionCell, type StreamCell } from './cells.ts';
import type {
  Appended,
  Assigned,
  CleanupSet,
  Committed,
  ConsumerGroupsSet,
  CursorGranted,
  CursorMoved,
  Declared,
  GroupCreated,
  MemberJoined,
  MemberLeft,
  Owned,
  PartitionOpened,
  Revoking,
  SchemaRefSet,
  StreamEvent,
  Swept,
  Trimmed,
} from './events.ts';
import { STREAM_EVENT } from './events.ts';
import { GroupMeter } from './group-meter.ts';
import * as t from './tables.ts';
import { VisibleEnds } from './visible-ends.ts';

/** A member that is not heard of for this long is fenced. */
export const SESSION_TIMEOUT_MS = 45_000;
export const HEARTBEAT_MS = 5_000;

export class StreamState {
  readonly rows: Rows;
  readonly logs: Logs;
  readonly cells: Cells;
  readonly visible = new VisibleEnds();
  counters: Cell<t.CountersRow> | null = null;
  readonly tenants = new Map<number, Map<string, StreamCell>>();
  readonly byNo = new Map<number, StreamCell>();
  readonly deleted = new Set<StreamCell>();
  /** Groups whose stream has got more partitions than the group has given out. */
  readonly outgrown = new Set<GroupCell>();
  /** Told of what becomes of streams, also of those whose home is elsewhere, durable or not. */
  onChange: OnChange = () => {};

  constructor(rows: Rows, logs: Logs) {
    this.rows = rows;
    this.logs = logs;
    this.cells = new Cells(rows);
  }

  find(tenant: number, name: string): StreamCell | undefined {
    return this.tenants.get(tenant)?.get(name);
  }

  *all(): IterableIterator<StreamCell> {
    for (const names of this.tenants.values()) yield* names.values();
  }

  nextNumbers(): t.CountersRow {
    return this.counters?.value ?? { nextStream: 1, nextLog: 2, deletedAt: 0 };
  }

  evolve(event: StreamEvent, at: Moment): void {
    switch (event.type) {
      case STREAM_EVENT.appended:
        this.#append(event, at);
        break;
      case STREAM_EVENT.committed:
        this.#commit(event, at);
        break;
      case STREAM_EVENT.declared:
        this.#declare(event, at);
        break;
      case STREAM_EVENT.partitionOpened:
        this.#open(event);
        break;
      case STREAM_EVENT.trimmed:
        this.#trim(event);
        break;
      case STREAM_EVENT.deleted:
        this.#delete(this.stream(event.no), at);
        break;
      case STREAM_EVENT.swept:
        this.#sweep(event);
        break;
      case STREAM_EVENT.groupCreated:
        this.#createGroup(event, at);
        break;
      case STREAM_EVENT.memberJoined:
        this.#join(event, at);
        break;
      case STREAM_EVENT.memberLeft:
        this.#leave(event, at);
        break;
      case STREAM_EVENT.assigned:
        this.#assign(event, { owner: event.owner, epoch: event.epoch, target: null });
        break;
      case STREAM_EVENT.revoking: {
        const before = this.group(event).assignments.get(event.partition)?.value;
        assert(before !== undefined, 'only an assigned partition is revoked');
        this.#assign(event, { ...before, target: event.target });
        break;
      }
      case STREAM_EVENT.cursorGranted:
      case STREAM_EVENT.cursorMoved:
        this.#setCursor(event, at);
        break;
      case STREAM_EVENT.cleanupSet:
      case STREAM_EVENT.schemaRefSet:
      case STREAM_EVENT.consumerGroupsSet:
        this.#amend(event);
        break;
      case STREAM_EVENT.owned:
        this.#own(event, at);
        break;
    }
  }

  stream(no: number): StreamCell {
    const stream = this.byNo.get(no);
    assert(stream !== undefined, `stream ${no} exists`);
    return stream;
  }

  partition(no: number, partition: number): PartitionCell {
    const cell = this.stream(no).partitions.get(partition);
    assert(cell !== undefined, `partition ${partition} of stream ${no} is on this shard`);
    return cell;
  }

  group(of: { no: number; group: string }): GroupCell {
    const group = this.stream(of.no).groups.get(of.group);
    assert(group !== undefined, `group ${of.group} of stream ${of.no} exists`);
    return group;
  }

  #append(event: Appended, at: Moment): void {
    const partition = this.partition(event.no, event.partition);
    partition.log.append(event.batch, countOf(event.batch), at.nowMs);
    this.visible.changed(partition, at.position);
    this.rows.onRollback(() => {
      partition.log.unappend();
      this.visible.changed(partition, at.position);
    });
  }

  #trim(event: Trimmed): void {
    const partition = this.partition(event.no, event.partition);
    partition.trimmedTo = event.offset;
    partition.log.trimTo(event.offset);
  }

  #declare(event: Declared, at: Moment): void {
    const { no, tenant, name } = event;
    const known = this.byNo.get(no);
    const { cleanup, minCompactionLagMs, tombstoneRetentionMs } = known?.cell.value ?? t.NO_COMPACTION;
    const ownership = known?.cell.value.ownership ?? null;
    this.onChange(known === undefined ? 'declared' : 'changed', tenant, name, at.position);
    const row: t.StreamRow = {
      name,
      uid: event.uid,
      partitions: event.partitions,
      retentionMs: event.retentionMs,
      retentionBytes: event.retentionBytes,
      createdAtMs: event.createdAtMs,
      isDeleted: false,
      cleanup,
      minCompactionLagMs,
      tombstoneRetentionMs,
      schemaRef: known?.cell.value.schemaRef ?? null,
      consumerGroups: known?.cell.value.consumerGroups ?? [],
      // `owned` follows if this is the owner's declaration.
      ownership: ownership && { ...ownership, isDrifted: true },
      bornAt: known === undefined ? at.position : known.cell.value.bornAt,
      changedAt: at.position,
    };
    if (known !== undefined) {
      this.cells.set(known.cell, row);
      for (const group of known.groups.values()) this.outgrown.add(group);
      return;
    }
    if (!this.tenants.has(tenant)) this.rows.put(t.TENANTS, t.tenantKey(tenant), true);
    const cell = this.cells.create(t.STREAMS, t.streamKey(tenant, no), row);
    this.addStream(newStream(no, tenant, cell));
    this.#count({ ...this.nextNumbers(), nextStream: no + 1 });
  }

  /** Parts of the declaration that have events of their own, with the names that they have in the row. */
  #amend({ type: _, no, ...part }: CleanupSet | SchemaRefSet | ConsumerGroupsSet): void {
    const { cell } = this.stream(no);
    this.cells.set(cell, { ...cell.value, ...part });
  }

  #own({ no, ownership }: Owned, at: Moment): void {
    const { cell, tenant } = this.stream(no);
    this.cells.set(cell, { ...cell.value, ownership, changedAt: at.position });
    this.onChange('changed', tenant, cell.value.name, at.position);
  }

  /** Also used when streams are loaded. */
  addStream(stream: StreamCell): void {
    const { tenant, no } = stream;
    const { name, isDeleted } = stream.cell.value;
    this.byNo.set(no, stream);
    if (isDeleted) {
      this.deleted.add(stream);
      return;
    }
    let names = this.tenants.get(tenant);
    if (names === undefined) {
      names = new Map();
      this.tenants.set(tenant, names);
    }
    names.set(name, stream);
  }

  #open(event: PartitionOpened): void {
    const stream = this.stream(event.no);
    const key = t.partitionKey(stream.tenant, stream.no, event.partition);
    this.addPartition(stream, event.partition, this.cells.create(t.PARTITIONS, key, { logId: event.logId }));
    this.#count({ ...this.nextNumbers(), nextLog: event.logId + 2 });
  }

  addPartition(stream: StreamCell, partition: number, cell: Cell<t.PartitionRow>): void {
    const log = this.logs.open(cell.value.logId);
    const watchers = new Set<() => void>();
    const cursors = new Map<string, Cell<t.CursorRow>>();
    const added = {
      stream,
      partition,
      cell,
      log,
      visibleEnd: log.endOffset,
      trimmedTo: 0,
      isSealed: false,
      watchers,
      cursors,
    };
    stream.partitions.set(partition, added);
    register(stream, cell);
  }

  #count(row: t.CountersRow): void {
    if (this.counters === null) this.counters = this.cells.create(t.COUNTERS, t.countersKey(), row);
    else this.cells.set(this.counters, row);
  }

  #delete(stream: StreamCell, at: Moment): void {
    this.cells.set(stream.cell, { ...stream.cell.value, isDeleted: true });
    this.#count({ ...this.nextNumbers(), deletedAt: at.position });
    this.onChange('deleted', stream.tenant, stream.cell.value.name, at.position);
    this.tenants.get(stream.tenant)?.delete(stream.cell.value.name);
    this.deleted.add(stream);
    for (const group of stream.groups.values()) this.outgrown.delete(group);
  }

  #sweep(event: Swept): void {
    const stream = this.stream(event.no);
    for (const key of event.keys) {
      const cell = stream.cells.get(key);
      assert(cell !== undefined, 'a row is swept once');
      if (cell.table.id === t.PARTITIONS.id) this.logs.drop((cell.value as t.PartitionRow).logId);
      this.cells.remove(cell);
      stream.cells.delete(key);
    }
    if (stream.cells.size > 0) return;
    this.cells.remove(stream.cell as Cell<unknown>);
    this.deleted.delete(stream);
    this.byNo.delete(stream.no);
  }

  #createGroup(event: GroupCreated, at: Moment): void {
    const stream = this.stream(event.no);
    const { initialPartitions } = event;
    const row = { epoch: 0, createdAtMs: at.nowMs, initialPartitions, emptySinceMs: at.nowMs };
    const key = t.groupKey(stream.tenant, stream.no, event.group);
    addGroup(stream, event.group, this.cells.create(t.GROUPS, key, row));
  }

  #join(event: MemberJoined, at: Moment): void {
    const group = this.group(event);
    const { tenant, no } = group.stream;
    const epoch = group.cell.value.epoch + 1;
    const row: t.MemberRow = { client: event.client, startFrom: event.startFrom, epoch };
    this.cells.set(group.cell, { ...group.cell.value, epoch, emptySinceMs: 0 });
    const known = group.members.get(event.member);
    if (known !== undefined) {
      this.cells.set(known.cell, row);
      return;
    }
    const cell = this.cells.create(t.MEMBERS, t.memberKey(tenant, no, event.group, event.member), row);
    addMember(group, event.member, cell, at.nowMs + SESSION_TIMEOUT_MS);
  }

  #leave(event: MemberLeft, at: Moment): void {
    const group = this.group(event);
    const member = group.members.get(event.member);
    assert(member !== undefined, 'only a member leaves');
    const emptySinceMs = group.members.size === 1 ? at.nowMs : 0;
    const { value } = group.cell;
    this.cells.set(group.cell, { ...value, epoch: value.epoch + 1, emptySinceMs });
    this.cells.remove(member.cell as Cell<unknown>);
    group.stream.cells.delete(member.cell.key);
    group.members.delete(event.member);
  }

  #assign(event: Assigned | Revoking, row: t.AssignmentRow): void {
    const group = this.group(event);
    const known = group.assignments.get(event.partition);
    if (known !== undefined) {
      this.cells.set(known, row);
      return;
    }
    const { tenant, no } = group.stream;
    const key = t.assignmentKey(tenant, no, event.group, event.partition);
    addAssignment(group, event.partition, this.cells.create(t.ASSIGNMENTS, key, row));
  }

  #setCursor(event: CursorGranted | CursorMoved, at: Moment): void {
    const partition = this.partition(event.no, event.partition);
    const known = partition.cursors.get(event.group);
    const { owner, epoch } = event;
    if (known !== undefined) {
      const { value } = known;
      const moved = { offset: event.offset, metadata: '', committedAtMs: at.nowMs };
      const place = event.offset === -1 ? value : moved;
      this.cells.set(known, { ...value, ...place, owner, epoch });
      return;
    }
    const { stream } = partition;
    const key = t.cursorKey(stream.tenant, stream.no, event.partition, event.group);
    const committedAtMs = event.offset === -1 ? 0 : at.nowMs;
    const row = { owner, epoch, offset: event.offset, metadata: '', committedAtMs };
    addCursor(partition, event.group, this.cells.create(t.CURSORS, key, row));
  }

  #commit(event: Committed, at: Moment): void {
    const cursor = this.partition(event.no, event.partition).cursors.get(event.group);
    assert(cursor !== undefined, 'only a granted cursor is committed');
    const { offset, metadata } = event;
    this.cells.set(cursor, { ...cursor.value, offset, metadata, committedAtMs: at.nowMs });
  }
}

const countOf = (batch: Buffer) => batch.readUInt32LE(32);

const register = <V>(stream: StreamCell, cell: Cell<V>) =>
  stream.cells.set(cell.key, cell as unknown as Cell<unknown>);

export const newStream = (no: number, tenant: number, cell: Cell<t.StreamRow>): StreamCell => ({
  no,
  tenant,
  cell,
  cells: new Map(),
  partitions: new Map(),
  groups: new Map(),
});

export function addGroup(stream: StreamCell, group: string, cell: Cell<t.GroupRow>): void {
  stream.groups.set(group, {
    stream,
    group,
    cell,
    members: new Map(),
    assignments: new Map(),
    fronts: new Map(),
    meter: new GroupMeter(),
  });
  register(stream, cell);
}

export function addMember(
  group: GroupCell,
  member: string,
  cell: Cell<t.MemberRow>,
  deadlineMs: number,
): void {
  group.members.set(member, { member, cell, deadlineMs });
  register(group.stream, cell);
}

export function addAssignment(group: GroupCell, partition: number, cell: Cell<t.AssignmentRow>): void {
  group.assignments.set(partition, cell);
  register(group.stream, cell);
}

export function addCursor(partition: PartitionCell, group: string, cell: Cell<t.CursorRow>): void {
  partition.cursors.set(group, cell);
  register(partition.stream, cell);
}
