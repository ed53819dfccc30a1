// Decides what a new flow becomes, and what the end of a child does to its parent. Pure.
//   W1. A flow is enqueued as a whole or not at all: everything that may refuse it is asked before the
//       first event.
//   W2. Every job of a flow has a row, which says whose child it is; parents wait in `awaiting`, outside
//       of lanes and limits, and enter them when they are let go.
import { clearPlain, type EntrySpan, FlowError, patchHead, readEntries, readHead } from '@flowmesh/protocol';
import { COMMAND_BYTES_MAX } from '../shard/bounds.ts';
import type { Emit, Moment } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import { DEFAULT_TENANT } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import type { FlowCommand, FlowReply } from './commands.ts';
import { deduplicate } from './dedup.ts';
import { emitEnqueued, enqueueReads, markIndexed, type Plan, place, readOptions } from './enqueue.ts';
import type { PlacedJob } from './events.ts';
import type { QueueState } from './evolve.ts';
import * as fe from './flow-events.ts';
import {
  CHILD,
  type ChildRow,
  childKey,
  type EndedRow,
  FLOW,
  type FlowRow,
  flowKey,
  type ParentLink,
} from './flow-tables.ts';
import { RESULT } from './life-tables.ts';
import { readyPlace } from './limits.ts';
import { JOB, type JobMeta, LANE, metaBytes } from './tables.ts';

const REASON_CHARS_MAX = 2048;

export interface FlowHome {
  readonly cell: (name: string) => QueueCell;
  readonly idPrefix: (cell: QueueCell) => string;
}

export function flowReads(rows: Rows, state: QueueState, c: FlowCommand): RowRef[] {
  return c.parts.flatMap(({ name, batch }) => {
    const cell = state.cell(c.caller.tenant, name);
    return cell === undefined ? [] : enqueueReads(rows, cell, { batch, head: readHead(batch) });
  });
}

interface Part {
  readonly cell: QueueCell;
  readonly batch: Buffer;
  readonly spans: readonly EntrySpan[];
  readonly nodes: readonly number[];
}

export function decideFlow(rows: Rows, c: FlowCommand, at: Moment, home: FlowHome, emit: Emit): FlowReply {
  const parts = c.parts.map(({ name, batch, nodes }): Part => {
    const cell = home.cell(name);
    checkRoom(cell, nodes.length);
    return { cell, batch, nodes, spans: readEntries(batch, 0, readHead(batch)) };
  });
  const [root] = parts;
  const [rootOptions] = root === undefined ? [] : readOptions(root.batch, root.spans.slice(0, 1));
  if (root === undefined || rootOptions === undefined) return { ids: [], deduplicated: false };
  const [known] = deduplicate(rows, root.cell, [rootOptions], at).offsets;
  const idOf = (cell: QueueCell, offset: number) => home.idPrefix(cell) + offset.toString(36);
  if (known?.deduplicated) return { ids: [idOf(root.cell, known.offset)], deduplicated: true };

  const cells: QueueCell[] = [];
  const offsets: number[] = [];
  for (const { cell, nodes } of parts) {
    nodes.forEach((node, i) => {
      cells[node] = cell;
      offsets[node] = cell.log.endOffset + i;
    });
  }
  const placeOf = (node: number) => ({ queueNo: cells[node]?.queueNo ?? 0, offset: offsets[node] ?? 0 });
  const families = familiesOf(c);
  const plans = parts.map(({ cell, batch, spans, nodes }) =>
    place(rows, cell, readOptions(batch, spans), at, (i) => {
      const node = nodes[i] ?? 0;
      const { parent = -1, no = 0 } = c.nodes[node] ?? {};
      const link: ParentLink | null = parent < 0 ? null : { ...placeOf(parent), no };
      return { parent: link, waits: families.has(node) };
    }),
  );
  checkBytes(parts, plans, c);
  parts.forEach(({ cell, batch, nodes }, i) => {
    const plan = plans[i] as Plan;
    clearPlain(batch);
    markIndexed(batch, plan.placed, cell.log.endOffset);
    patchHead(batch, cell.log.endOffset, at.nowMs);
    emitEnqueued(cell, batch, nodes.length, '', emit, plan);
  });
  for (const [node, members] of families) {
    const children = members.map((member) => {
      const { name = '', onFailure = 'fail-parent' } = c.nodes[member] ?? {};
      return { ...placeOf(member), name, onFailure };
    });
    const delayMs = c.nodes[node]?.delayMs ?? 0;
    emit({ type: fe.PLANNED, ...placeOf(node), delayMs, children } as fe.Planned);
  }
  return { ids: cells.map((cell, i) => idOf(cell, offsets[i] ?? 0)), deduplicated: false };
}

/** Children by parent, in order. */
function familiesOf({ nodes }: FlowCommand): Map<number, number[]> {
  const families = new Map<number, number[]>();
  nodes.forEach(({ parent }, node) => {
    if (parent < 0) return;
    const members = families.get(parent);
    if (members === undefined) families.set(parent, [node]);
    else members.push(node);
  });
  return families;
}

function checkRoom(cell: QueueCell, count: number): void {
  if (cell.state.draining)
    throw new FlowError('QUEUE_DRAINING', `queue ${cell.name} finishes what it has and takes no new jobs`);
  const { maxDepth } = cell.spec;
  if (maxDepth === 0 || cell.depth + count <= maxDepth) return;
  const holds = `queue ${cell.name} holds ${cell.depth} jobs of at most ${maxDepth}`;
  throw new FlowError('QUEUE_FULL', `${holds}, and the flow has ${count} for it`, { retryAfterMs: 1000 });
}

function checkBytes(parts: readonly Part[], plans: readonly Plan[], { nodes }: FlowCommand): void {
  let bytes = 0;
  for (const { batch } of parts) bytes += batch.length;
  for (const { name } of nodes) bytes += 48 + 3 * name.length;
  for (const { placed, dedups } of plans) {
    for (const { meta } of placed) bytes += 64 + 2 * metaBytes(meta);
    for (const { key } of dedups) bytes += 32 + key.length;
  }
  if (bytes <= COMMAND_BYTES_MAX - 64 * 1024) return;
  throw new FlowError('BATCH_TOO_LARGE', `a flow of ${nodes.length} jobs and ${bytes} bytes: split it`);
}

/** Nobody would tell the parents elsewhere. */
export function refuseOrphans({ name, state }: QueueCell): void {
  if (state.children === 0) return;
  const what = `${state.children} jobs of queue ${name} are children that their parents wait for`;
  throw new FlowError('NOT_EMPTY', `${what}: purge the queue, or let them finish, before it is deleted`);
}

export function decideChildEnd(
  rows: Rows,
  state: QueueState,
  child: { queueNo: number; offset: number },
  ended: EndedRow,
  { idPrefix }: Pick<FlowHome, 'idPrefix'>,
  at: Moment,
): fe.ChildEnded {
  const { parent } = ended;
  const event = {
    type: fe.CHILD_ENDED,
    ...parent,
    ...{ childQueueNo: child.queueNo, childOffset: child.offset },
    ...{ flow: null, child: null, letGo: null },
  } as const;
  const flow = rows.get(FLOW, flowKey(DEFAULT_TENANT, FLOW, parent.queueNo, parent.offset));
  const row = rows.get(CHILD, childKey(DEFAULT_TENANT, parent));
  if (flow === undefined || row === undefined) return event;
  const hasFailed = ended.state !== 'completed';
  const isRemoved = hasFailed && row.onFailure === 'remove';
  const after: FlowRow = {
    ...flow,
    open: flow.open - 1,
    failed: flow.failed + (hasFailed && !isRemoved ? 1 : 0),
    removed: flow.removed + (isRemoved ? 1 : 0),
  };
  const cell = state.byNumber.get(parent.queueNo);
  const job = cell === undefined ? undefined : rows.get(JOB, cell.keys.jobKey(parent.offset));
  let letGo: fe.LetGo | null = null;
  if (cell !== undefined && job?.state === 'awaiting') {
    if (hasFailed && row.onFailure === 'fail-parent') {
      const childCell = state.byNumber.get(child.queueNo);
      const id = childCell === undefined ? '' : idPrefix(childCell) + child.offset.toString(36);
      const lastError = reasonOf(row, id, childCell?.name ?? '', ended);
      letGo = { job: placed(parent.offset, 'dying', { ...job.meta, lastError }), lane: null, behind: -1 };
    } else if (after.open === 0 || (hasFailed && row.onFailure === 'continue'))
      letGo = released(rows, cell, parent.offset, { ...job.meta, readyAtMs: at.nowMs + flow.delayMs }, at);
  }
  if (isRemoved) return { ...event, flow: after, letGo };
  return { ...event, flow: after, child: finished(rows, child, row, ended, at), letGo };
}

const placed = (offset: number, to: PlacedJob['to'], meta: JobMeta): PlacedJob => ({ offset, to, meta });

function reasonOf({ name }: ChildRow, id: string, queue: string, { state, error }: EndedRow): string {
  const who = `child ${id}${name === '' ? '' : ` (${name})`} of queue ${queue}`;
  const how = state === 'dead' ? 'died' : 'was cancelled';
  return `${who} ${how}${error === '' ? '' : `: ${error}`}`.slice(0, REASON_CHARS_MAX);
}

/** The result stays with the parent, however long the queue of the child keeps it. */
function finished(
  rows: Rows,
  child: { queueNo: number; offset: number },
  row: ChildRow,
  { state, error }: EndedRow,
  { nowMs: atMs }: Moment,
): ChildRow {
  const key = flowKey(DEFAULT_TENANT, RESULT, child.queueNo, child.offset);
  const result = state === 'completed' ? rows.get(RESULT, key) : undefined;
  const kept = { contentType: result?.contentType ?? '', result: result?.value ?? row.result };
  return { ...row, state, atMs, error, ...kept };
}

/** As a job that is enqueued now. */
function released(rows: Rows, cell: QueueCell, offset: number, meta: JobMeta, at: Moment): fe.LetGo {
  const { key } = meta;
  const lane = key === '' ? undefined : rows.get(LANE, cell.keys.laneKey(key));
  const change = key === '' ? null : { key, lane: { head: lane?.head ?? offset, tail: offset } };
  if (lane !== undefined) return { job: placed(offset, 'blocked', meta), lane: change, behind: lane.tail };
  const to = meta.readyAtMs > at.nowMs ? 'delayed' : readyPlace(cell.spec, meta);
  return { job: placed(offset, to, meta), lane: change, behind: -1 };
}
