// Start: cells from rows, before the journal is replayed. Pages, so that a shard with many cursors starts in
// steps.
import { FlowError } from '@flowmesh/protocol';
import type { Row, Rows, Table } from '../storage/contract.ts';
import { after } from '../storage/keys.ts';
import { Cells, type GroupCell, type StreamCell } from './cells.ts';
import { addAssignment, addCursor, addGroup, addMember, newStream, type StreamState } from './state.ts';
import * as t from './tables.ts';

const PAGE_ROWS = 1000;

export async function loadState(state: StreamState): Promise<void> {
  const { rows } = state;
  const counters = await scanAll(rows, t.COUNTERS, t.SYSTEM_TENANT);
  for (const { key, value } of counters) state.counters = Cells.loaded(t.COUNTERS, key, value);
  for (const { key } of await scanAll(rows, t.TENANTS, t.SYSTEM_TENANT)) {
    const tenant = t.readTenant(key);
    state.tenants.set(tenant, new Map());
    await loadStreams(state, tenant);
    await loadGroups(state, tenant);
  }
}

async function loadStreams(state: StreamState, tenant: number): Promise<void> {
  const { rows } = state;
  for (const { key, value } of await scanAll(rows, t.STREAMS, tenant)) {
    state.addStream(newStream(t.readNo(key), tenant, Cells.loaded(t.STREAMS, key, value)));
  }
  for (const { key, value } of await scanAll(rows, t.PARTITIONS, tenant)) {
    const stream = streamOf(state, key);
    state.addPartition(stream, t.readPartition(key), Cells.loaded(t.PARTITIONS, key, value));
  }
  for (const { key, value } of await scanAll(rows, t.CURSORS, tenant)) {
    const partition = streamOf(state, key).partitions.get(t.readPartition(key));
    const cell = Cells.loaded(t.CURSORS, key, value);
    // A sweep takes the partition of a deleted stream before its cursors; they still have to go.
    if (partition === undefined) streamOf(state, key).cells.set(key, cell as never);
    else addCursor(partition, t.readCursorGroup(key), cell);
  }
}

async function loadGroups(state: StreamState, tenant: number): Promise<void> {
  const { rows } = state;
  for (const { key, value } of await scanAll(rows, t.GROUPS, tenant)) {
    addGroup(streamOf(state, key), t.readGroup(key).text, Cells.loaded(t.GROUPS, key, value));
  }
  for (const { key, value } of await scanAll(rows, t.MEMBERS, tenant)) {
    const { group, next } = groupOf(state, key);
    const cell = Cells.loaded(t.MEMBERS, key, value);
    // The deadline is set when the shard serves again: nobody could be heard of in between.
    if (group === undefined) streamOf(state, key).cells.set(key, cell as never);
    else addMember(group, t.readText(key, next).text, cell, Number.POSITIVE_INFINITY);
  }
  for (const { key, value } of await scanAll(rows, t.ASSIGNMENTS, tenant)) {
    const { group, next } = groupOf(state, key);
    const cell = Cells.loaded(t.ASSIGNMENTS, key, value);
    if (group === undefined) streamOf(state, key).cells.set(key, cell as never);
    else addAssignment(group, t.readU32(key, next), cell);
  }
}

function streamOf(state: StreamState, key: string): StreamCell {
  const stream = state.byNo.get(t.readNo(key));
  if (stream === undefined)
    throw new FlowError('DATA_DAMAGED', `the row of stream ${t.readNo(key)} is missing`);
  return stream;
}

function groupOf(state: StreamState, key: string): { group: GroupCell | undefined; next: number } {
  const stream = streamOf(state, key);
  const { text, next } = t.readGroup(key);
  const group = stream.groups.get(text);
  if (group === undefined && !stream.cell.value.isDeleted) {
    throw new FlowError('DATA_DAMAGED', `the row of group ${text} of stream ${stream.no} is missing`);
  }
  return { group, next };
}

async function scanAll<V>(rows: Rows, table: Table<V>, tenant: number): Promise<Row<V>[]> {
  const prefix = t.tablePrefix(tenant, table);
  const all: Row<V>[] = [];
  let from = prefix;
  for (;;) {
    const page = await rows.scan(table, { from, to: after(prefix), limit: PAGE_ROWS });
    for (const row of page) all.push(row);
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE_ROWS) return all;
    from = `${last.key}\0`;
  }
}
