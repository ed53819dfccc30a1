// Rows of flows: trees of jobs whose parents wait for their children.
//   FLOW        of each parent: how many children it has, and how many of them are open
//   CHILD       of each child, by its parent and its number there: who it is, and how it ended, with its
//               result
//   LINK        the way back, by the child: whose child it is, and whether it has ended
//   ENDED       children that have ended and whose parents do not know yet (flow-keeper.ts)
//   CANCELLING  parents that were cancelled and whose children are still to be
// FLOW, CHILD and LINK go when the log of their queue no longer has the job (life-sweeper.ts): results
// stay until their parent is finished and beyond, whatever the retention of the children's queues.
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Table } from '../storage/contract.ts';
import { readU32be, readU53be, u32be, u53be } from '../storage/keys.ts';

/** Whose child a job is: its parent, and its number there. */
export interface ParentLink {
  readonly queueNo: number;
  readonly offset: number;
  readonly no: number;
}

export const packLink = ({ queueNo, offset, no }: ParentLink): string =>
  u32be(queueNo) + u53be(offset) + u32be(no);
export const unpackLink = (bytes: string): ParentLink => ({
  queueNo: readU32be(bytes, 0),
  offset: readU53be(bytes, 4),
  no: readU32be(bytes, 11),
});

export interface FlowRow {
  /** Children that it was created with. */
  readonly count: number;
  readonly open: number;
  readonly failed: number;
  /** Children that were taken out (`remove`). */
  readonly removed: number;
  /** Counts from when its children are finished. */
  readonly delayMs: number;
}

/** What the end of a child without an ack does to its parent; the first is the default. */
export const FAILURE_POLICIES = ['fail-parent', 'ignore', 'continue', 'remove'] as const;
export type FailurePolicy = (typeof FAILURE_POLICIES)[number];

export const CHILD_STATES = ['open', 'completed', 'dead', 'cancelled'] as const;
export type ChildState = (typeof CHILD_STATES)[number];

export interface ChildRow {
  readonly queueNo: number;
  readonly offset: number;
  readonly name: string;
  readonly onFailure: FailurePolicy;
  readonly state: ChildState;
  readonly atMs: number;
  readonly error: string;
  readonly contentType: string;
  readonly result: Buffer;
}

export interface LinkRow extends ParentLink {
  readonly hasEnded: boolean;
}

export interface EndedRow {
  readonly parent: ParentLink;
  readonly state: Exclude<ChildState, 'open'>;
  readonly error: string;
}

export function writeFlow(w: ByteWriter, v: FlowRow): void {
  for (const n of [v.count, v.open, v.failed, v.removed, v.delayMs]) w.varint(n);
}
export const readFlow = (r: ByteReader): FlowRow => ({
  count: r.varint(),
  open: r.varint(),
  failed: r.varint(),
  removed: r.varint(),
  delayMs: r.varint(),
});

export function writeChild(w: ByteWriter, v: ChildRow): void {
  w.varint(v.queueNo);
  w.varint(v.offset);
  w.text(v.name);
  w.u8(FAILURE_POLICIES.indexOf(v.onFailure));
  w.u8(CHILD_STATES.indexOf(v.state));
  w.varint(v.atMs);
  w.text(v.error);
  w.text(v.contentType);
  w.bytes(v.result);
}
export const readChild = (r: ByteReader): ChildRow => ({
  queueNo: r.varint(),
  offset: r.varint(),
  name: r.text(),
  onFailure: FAILURE_POLICIES[r.u8()] ?? 'fail-parent',
  state: CHILD_STATES[r.u8()] ?? 'open',
  atMs: r.varint(),
  error: r.text(),
  contentType: r.text(),
  result: Buffer.from(r.bytes()),
});

export const FLOW: Table<FlowRow> = {
  id: 71,
  name: 'flow',
  encode: (v, w) => writeFlow(w, v),
  decode: readFlow,
};

export const CHILD: Table<ChildRow> = {
  id: 72,
  name: 'flow-child',
  encode: (v, w) => writeChild(w, v),
  decode: readChild,
};

export const LINK: Table<LinkRow> = {
  id: 73,
  name: 'flow-link',
  encode(v, w) {
    w.latin1(packLink(v));
    w.u8(v.hasEnded ? 1 : 0);
  },
  decode: (r) => ({ ...unpackLink(r.latin1()), hasEnded: r.u8() === 1 }),
};

export const ENDED: Table<EndedRow> = {
  id: 74,
  name: 'flow-ended',
  encode(v, w) {
    w.latin1(packLink(v.parent));
    w.u8(CHILD_STATES.indexOf(v.state));
    w.text(v.error);
  },
  decode(r) {
    const parent = unpackLink(r.latin1());
    const state = CHILD_STATES[r.u8()] ?? 'open';
    return { parent, state: state === 'open' ? 'cancelled' : state, error: r.text() };
  },
};

/** The number of the child that comes next. */
export const CANCELLING: Table<number> = {
  id: 75,
  name: 'flow-cancelling',
  encode: (v, w) => w.varint(v),
  decode: (r) => r.varint(),
};

const prefix = (tenant: number, { id }: Table<unknown>): string => u32be(tenant) + String.fromCharCode(id);

/** Key of a job's row in any of the tables but CHILD. */
export const flowKey = (tenant: number, table: Table<unknown>, queueNo: number, offset: number): string =>
  prefix(tenant, table) + u32be(queueNo) + u53be(offset);
export const childKey = (tenant: number, { queueNo, offset, no }: ParentLink): string =>
  flowKey(tenant, CHILD, queueNo, offset) + u32be(no);
export const flowPrefix = prefix;
/** Of a row of ENDED or CANCELLING. */
export const placeIn = (key: string): { queueNo: number; offset: number } => ({
  queueNo: readU32be(key, 5),
  offset: readU53be(key, 9),
});
