// Tells parents of the ends of their children, of the flows' own accord (before every batch, so that the
// ack of the last child and what it lets go are one journal entry). Owns what is being read for that.
//   K1. One CHILD_ENDED event for each end, and O(1) rows for each event, however many children there
//       are.
//   K2. A parent that no longer waits (let go, cancelled, purged, its queue deleted) goes nowhere by it.
//   K3. Rows that are not at hand are fetched beside the shard's work; what cannot be read is tried
//       again.
import { FlowError } from '@flowmesh/protocol';
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import type { RowRef, Window } from '../storage/contract.ts';
import { after, DEFAULT_TENANT } from '../storage/keys.ts';
import { cancelReads, decideCancel } from './cancel.ts';
import type { QueueCell } from './cell.ts';
import type { Waiter } from './dispatch.ts';
import type { QueueState } from './evolve.ts';
import { decideChildEnd } from './flow-decide.ts';
import * as fe from './flow-events.ts';
import { Orphans } from './flow-orphans.ts';
import {
  CANCELLING,
  CHILD,
  childKey,
  ENDED,
  type EndedRow,
  FLOW,
  flowKey,
  flowPrefix,
  placeIn,
} from './flow-tables.ts';
import { RESULT } from './life-tables.ts';
import { JOB, LANE } from './tables.ts';
import type { EmitThen } from './upkeep.ts';

/** Work of one kind that a single run does at most. */
const SLICE = 256;
/** After a read that failed, or when too many cancelled jobs are still in line. */
const RETRY_MS = 1000;

export interface FlowHooks {
  readonly idPrefix: (cell: QueueCell) => string;
  readonly waiterOf: (cell: QueueCell, sessionId: string) => Waiter | undefined;
}

export class FlowKeeper {
  readonly #context: ViewContext;
  readonly #state: QueueState;
  readonly #hooks: FlowHooks;
  readonly #ended: Window<EndedRow>;
  readonly #cancelling: Window<number>;
  readonly orphans: Orphans;
  #isReading = false;
  #notBeforeMs = 0;

  constructor(context: ViewContext, state: QueueState, hooks: FlowHooks) {
    this.#context = context;
    this.#state = state;
    this.#hooks = hooks;
    this.orphans = new Orphans(context);
    const endedFrom = flowPrefix(DEFAULT_TENANT, ENDED);
    this.#ended = context.rows.window(ENDED, endedFrom, after(endedFrom));
    const cancellingFrom = flowPrefix(DEFAULT_TENANT, CANCELLING);
    this.#cancelling = context.rows.window(CANCELLING, cancellingFrom, after(cancellingFrom));
  }

  /** Something is still to be done for a flow. */
  get isAtWork(): boolean {
    return this.#isWaiting(this.#ended) || this.#isWaiting(this.#cancelling) || this.orphans.isAtWork;
  }

  #isWaiting = (window: Window<unknown>): boolean => window.first() !== undefined || window.isStale();

  wakeAtMs(): number {
    const orphansMs = this.orphans.wakeAtMs();
    if (this.#isReading) return orphansMs;
    return this.#isWaiting(this.#ended) || this.#isWaiting(this.#cancelling)
      ? Math.min(this.#notBeforeMs, orphansMs)
      : orphansMs;
  }

  run(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    if (at.nowMs < this.#notBeforeMs) return;
    if (this.#isWaiting(this.#ended)) this.#tellParents(at, emit, hasRoom);
    if (this.#isWaiting(this.#cancelling)) this.#cancelChildren(at, emit, hasRoom);
    this.orphans.run(at, emit);
  }

  #tellParents(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    const { rows } = this.#context;
    if (this.#ended.isStale()) this.#read(at, () => this.#ended.refill());
    const missing: RowRef[] = [];
    for (const { key, value } of this.#ended.take(SLICE)) {
      if (!hasRoom()) return;
      const absent = this.#endReads(key, value).filter((ref) => !rows.isResident(ref));
      if (absent.length > 0) missing.push(...absent);
      else emit(decideChildEnd(rows, this.#state, placeIn(key), value, this.#hooks, at));
    }
    if (missing.length > 0) this.#read(at, () => this.#fetch(missing));
  }

  /** One damaged row must not hold up the others. */
  async #fetch(refs: readonly RowRef[]): Promise<void> {
    const { rows } = this.#context;
    try {
      await rows.fetch(refs);
    } catch (error) {
      await Promise.allSettled(refs.map((ref) => rows.fetch([ref])));
      throw error;
    }
  }

  #endReads(key: string, { parent, state }: EndedRow): RowRef[] {
    const { rows } = this.#context;
    const refs: RowRef[] = [
      { table: FLOW, key: flowKey(DEFAULT_TENANT, FLOW, parent.queueNo, parent.offset) },
      { table: CHILD, key: childKey(DEFAULT_TENANT, parent) },
    ];
    const { queueNo, offset } = placeIn(key);
    if (state === 'completed')
      refs.push({ table: RESULT, key: flowKey(DEFAULT_TENANT, RESULT, queueNo, offset) });
    const cell = this.#state.byNumber.get(parent.queueNo);
    if (cell === undefined) return refs;
    const job: RowRef = { table: JOB, key: cell.keys.jobKey(parent.offset) };
    refs.push(job);
    const laneKey = rows.isResident(job) ? rows.get(JOB, job.key)?.meta.key : undefined;
    if (laneKey) refs.push({ table: LANE, key: cell.keys.laneKey(laneKey) });
    return refs;
  }

  #cancelChildren(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    if (this.#cancelling.isStale()) this.#read(at, () => this.#cancelling.refill());
    let steps = 0;
    for (const { key, value } of this.#cancelling.take(SLICE)) {
      for (let next = value; next >= 0; steps++) {
        if (!hasRoom() || steps >= SLICE) return;
        const after = this.#cancelChild({ ...placeIn(key), no: next }, at, emit);
        if (after === null) return;
        next = after;
      }
    }
  }

  /** The child that comes next; -1: none is left; null: something must be read or waited for. */
  #cancelChild(
    link: { queueNo: number; offset: number; no: number },
    at: Moment,
    emit: EmitThen,
  ): number | null {
    const { rows } = this.#context;
    const { queueNo, offset, no } = link;
    const refs: RowRef[] = [
      { table: FLOW, key: flowKey(DEFAULT_TENANT, FLOW, queueNo, offset) },
      { table: CHILD, key: childKey(DEFAULT_TENANT, link) },
    ];
    if (this.#areMissing(refs, at)) return null;
    const count = rows.get(FLOW, refs[0]?.key ?? '')?.count ?? 0;
    const child = rows.get(CHILD, refs[1]?.key ?? '');
    const next = no + 1 < count ? no + 1 : -1;
    const seen = { type: fe.DISOWNED, queueNo, offset, next } as fe.Disowned;
    const cell = child === undefined ? undefined : this.#state.byNumber.get(child.queueNo);
    if (child === undefined || cell === undefined || child.state !== 'open') {
      emit(seen);
      return next;
    }
    const job: RowRef = { table: JOB, key: cell.keys.jobKey(child.offset) };
    if (this.#areMissing([job], at)) return null;
    const meta = cell.leases.get(child.offset)?.meta ?? rows.get(JOB, job.key)?.meta;
    const parent = this.#state.byNumber.get(queueNo);
    const parentId = parent === undefined ? '' : ` ${this.#hooks.idPrefix(parent)}${offset.toString(36)}`;
    const reason = `its parent${parentId} was cancelled`;
    const terms = { offset: child.offset, key: meta?.key ?? '', isIndexed: true, reason };
    if (this.#areMissing(cancelReads(rows, cell, terms), at)) return null;
    try {
      const { sessionId, epoch } = decideCancel(rows, cell, terms, at, emit);
      const waiter = epoch > 0 ? this.#hooks.waiterOf(cell, sessionId) : undefined;
      emit(seen, () => waiter?.lost([child.offset], [epoch], 'CANCELLED'));
      return next;
    } catch (error) {
      // Too many cancelled jobs are still in line: some will have had their turn by then.
      if (!(error instanceof FlowError && error.code === 'RESOURCE_EXHAUSTED')) throw error;
      this.#notBeforeMs = at.nowMs + RETRY_MS;
      return null;
    }
  }

  #areMissing(refs: readonly RowRef[], at: Moment): boolean {
    const { rows } = this.#context;
    const missing = refs.filter((ref) => !rows.isResident(ref));
    if (missing.length > 0) this.#read(at, () => rows.fetch(missing));
    return missing.length > 0;
  }

  /** One read at a time; the tick that follows looks again (K3). */
  #read(at: Moment, load: () => Promise<unknown>): void {
    if (this.#isReading) return;
    this.#isReading = true;
    load().then(
      () => {
        this.#isReading = false;
        this.#context.wake();
      },
      () => {
        this.#isReading = false;
        this.#notBeforeMs = at.nowMs + RETRY_MS;
        this.#context.wake();
      },
    );
  }
}
