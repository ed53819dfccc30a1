// Looking at flows: what a job knows of its parent and its children. Reads only; may read the disk.
import { decodeEntry, FlowError, readEntries } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Event } from '../shard/state-machine.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import { after, DEFAULT_TENANT } from '../storage/keys.ts';
import { decodeLife } from './attempts.ts';
import type { QueueCell } from './cell.ts';
import * as fe from './flow-events.ts';
import { CHILD, childKey, FLOW, type FlowRow, flowKey, LINK } from './flow-tables.ts';
import { parseJobId } from './ids.ts';
import { loadEntry } from './sources.ts';
import type { QueueView } from './view.ts';

const PAGE_MAX = 1000;
const PAGE_BYTES = 1024 * 1024;
/** Children that are read at once: results may be large. */
const STEP = 16;

export const kinReads = (cell: QueueCell, offset: number): RowRef[] =>
  [FLOW, LINK].map((table) => ({ table, key: flowKey(DEFAULT_TENANT, table, cell.queueNo, offset) }));

/** The rows must be resident. */
export function kinOf(rows: Rows, cell: QueueCell, offset: number) {
  const flow = rows.get(FLOW, flowKey(DEFAULT_TENANT, FLOW, cell.queueNo, offset));
  const link = rows.get(LINK, flowKey(DEFAULT_TENANT, LINK, cell.queueNo, offset));
  return { flow, link };
}

export function kinMessage(view: QueueView, { flow, link }: Partial<ReturnType<typeof kinOf>>) {
  const cell = link === undefined ? undefined : view.state.byNumber.get(link.queueNo);
  return {
    ...(flow === undefined ? {} : { children: countsOf(flow) }),
    ...(link === undefined || cell === undefined
      ? {}
      : { parent: { queue: cell.name, id: view.idPrefix(cell) + link.offset.toString(36) } }),
  };
}

const countsOf = ({ count, open, failed, removed }: FlowRow) => ({ total: count - removed, open, failed });

export function waitReason(flow: FlowRow | undefined): string {
  if (flow === undefined) return 'waits for its children';
  const { total, open } = countsOf(flow);
  return `waits for ${open} of its ${total} ${total === 1 ? 'child' : 'children'}`;
}

export async function listChildren(
  view: QueueView,
  cell: QueueCell,
  offset: number,
  request: pb.ListChildrenRequest,
): Promise<pb.ListChildrenResponseInput> {
  const { rows } = view.context;
  if (request.leaseEpoch > 0 && cell.held(offset, request.leaseEpoch) === undefined)
    throw new FlowError('LEASE_LOST', `the lease of job ${request.id} is no longer held`);
  const limit = Math.min(PAGE_MAX, request.limit || 100);
  const first = firstOf(request.cursor);
  const parent = await parentOf(view, cell, offset);
  if (parent === undefined) return { children: [], cursor: '', counts: {} };
  const end = after(flowKey(DEFAULT_TENANT, CHILD, parent.queueNo, parent.offset));
  const children: pb.FlowChildInput[] = [];
  let from = childKey(DEFAULT_TENANT, { ...parent, no: first });
  let bytes = 0;
  let next = '';
  while (next === '') {
    const page = await rows.scan(CHILD, { from, to: end, limit: STEP });
    for (const { key, value } of page) {
      if (children.length >= limit || bytes >= PAGE_BYTES) {
        next = String(noIn(key));
        break;
      }
      bytes += value.result.length + value.error.length + value.name.length;
      const child = view.state.byNumber.get(value.queueNo);
      const id = child === undefined ? '' : view.idPrefix(child) + value.offset.toString(36);
      const { name, onFailure, state, error, result, contentType: resultContentType } = value;
      const said = { queue: child?.name ?? '', id, name, onFailure, state, error };
      children.push({ ...said, result, resultContentType, finishedAtMs: state === 'open' ? 0 : value.atMs });
    }
    const last = page.at(-1);
    if (page.length < STEP || last === undefined) break;
    from = `${last.key}\0`;
  }
  return { children, cursor: next, counts: countsOf(parent.flow) };
}

const noIn = (key: string): number => Buffer.from(key.slice(-4), 'latin1').readUInt32BE();

function firstOf(cursor: string): number {
  if (/^\d{0,5}$/.test(cursor)) return Number(cursor);
  throw new FlowError('INVALID_ARGUMENT', 'cursor: pass back what the last page gave');
}

/** Where the children of a job are found: a redriven one has those of its first life. */
async function parentOf(view: QueueView, cell: QueueCell, offset: number) {
  const { rows } = view.context;
  const flowAt = async (queueNo: number, at: number) => {
    const ref = { table: FLOW, key: flowKey(DEFAULT_TENANT, FLOW, queueNo, at) };
    await rows.fetch([ref]);
    const flow = rows.get(FLOW, ref.key);
    return flow === undefined ? undefined : { queueNo, offset: at, flow };
  };
  const own = await flowAt(cell.queueNo, offset);
  if (own !== undefined) return own;
  const { bytes, head, index } = await loadEntry(cell.log, offset);
  const span = readEntries(bytes, 0, head)[index];
  const record = span === undefined ? undefined : decodeEntry(bytes, head, span, offset);
  const { firstId } = decodeLife(record?.life);
  if (firstId === '') return undefined;
  try {
    const place = parseJobId(firstId);
    const isHere = place.shard === view.context.shard && view.state.byNumber.get(place.queueNo) !== undefined;
    return isHere ? await flowAt(place.queueNo, place.offset) : undefined;
  } catch {
    // `life` may say anything (A3 of attempts.ts).
    return undefined;
  }
}

/** What an event of a flow did to one job; null: nothing. */
export function flowTransitionOf(
  event: Event,
  queueNo: number,
  offset: number,
): pb.JobTransitionInput | null {
  const e = event as fe.FlowEvent;
  if (e.type === fe.CHILD_ENDED) {
    if (e.queueNo !== queueNo || e.offset !== offset) return null;
    const kind = e.child?.state === 'completed' ? 'child_completed' : 'child_failed';
    const who = e.child?.name || `child ${e.no}`;
    const what = e.child === null ? 'taken out' : e.child.error;
    const then = e.letGo === null ? '' : ` -> ${e.letGo.job.to === 'dying' ? 'dead' : e.letGo.job.to}`;
    return { kind, detail: `${who}${what === '' ? '' : `: ${what}`}${then}` };
  }
  if (e.type === fe.ORPHANED && e.queueNo === queueNo && e.children.some((child) => child.offset === offset))
    return { kind: 'purged' };
  return null;
}
