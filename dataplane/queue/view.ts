// The queue view of one shard: glue between the decisions (enqueue, settle, dispatch, policy), the state (evolve) and
// the shard. Owns what happens of its own accord: due jobs, lease ends, dead-lettering, retention.
import assert from 'node:assert/strict';
import { FlowError, patchHead } from '@flowmesh/protocol';
import type { Command, Emit, Event, Moment, View, ViewContext } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { RowRef, Window } from '../storage/contract.ts';
import { after, DEFAULT_TENANT, readPart, readU32be, readU53be } from '../storage/keys.ts';
import { type Grant, QueueCell } from './cell.ts';
import type { EnqueueReply, QueueCommand, RemoveCommand, SettleCommand } from './commands.ts';
import { QueueLine, sourceIn, type Waiter } from './dispatch.ts';
import { decideEnqueue, enqueueReads } from './enqueue.ts';
import * as ev from './events.ts';
import { deadJobBatch, logIdOf, QueueState } from './evolve.ts';
import { LeaseClock } from './lease-clock.ts';
import { decideReturn, defaultsFor, isDeadLetterName } from './policy.ts';
import { decideSettle, heldMeta, laneReads, unblock } from './settle.ts';
import { COUNTERS, DEDUP_EXPIRY, LEASE, QUEUE, tablePrefix } from './tables.ts';

/** Work of one kind that a single tick does at most. */
const SLICE = 256;
const HOUSEKEEPING_MS = 2000;

type EmitThen = Parameters<NonNullable<View['tick']>>[1];

export class QueueView implements View {
  readonly name = 'queue';
  readonly events = [64, 111] as const;
  readonly context: ViewContext;
  readonly state: QueueState;
  readonly #leaseClock = new LeaseClock();
  readonly #lines = new Map<number, QueueLine>();
  readonly #hasDue = new Set<QueueCell>();
  readonly #hasDying = new Set<QueueCell>();
  readonly #dedupExpiry: Window<true>;
  #nextDueMs = 0;
  #nextHousekeepingMs = 0;

  constructor(context: ViewContext) {
    this.context = context;
    this.state = new QueueState(context, this.#leaseClock);
    const prefix = tablePrefix(DEFAULT_TENANT, DEDUP_EXPIRY);
    this.#dedupExpiry = context.rows.window(DEDUP_EXPIRY, prefix, after(prefix));
  }

  idPrefix(cell: QueueCell): string {
    return `${this.context.shard.toString(36)}-${cell.queueNo.toString(36)}-`;
  }

  cell(tenant: number, name: string): QueueCell {
    const cell = this.state.cell(tenant, name);
    if (cell === undefined)
      throw new FlowError('QUEUE_NOT_FOUND', `there is no queue ${name}; declare it, or turn autoCreate on`);
    return cell;
  }

  addWaiter(cell: QueueCell, waiter: Waiter): void {
    let line = this.#lines.get(cell.queueNo);
    if (line === undefined) {
      line = new QueueLine(cell, this.context.wake);
      this.#lines.set(cell.queueNo, line);
    }
    line.waiters.push(waiter);
    this.context.wake();
  }

  /** The session has a new connection: nothing may be granted to the old one any more. */
  removeSession(cell: QueueCell, sessionId: string): void {
    const old = this.#lines.get(cell.queueNo)?.waiters.find((w) => w.sessionId === sessionId);
    if (old !== undefined) this.removeWaiter(cell, old);
  }

  removeWaiter(cell: QueueCell, waiter: Waiter): void {
    const line = this.#lines.get(cell.queueNo);
    const index = line?.waiters.indexOf(waiter) ?? -1;
    if (line === undefined || index < 0) return;
    line.waiters.splice(index, 1);
    if (line.waiters.length === 0) this.#lines.delete(cell.queueNo);
  }

  workers(cell: QueueCell): number {
    return this.#lines.get(cell.queueNo)?.waiters.length ?? 0;
  }

  async load(): Promise<void> {
    const { rows, logs } = this.context;
    const counters = { table: COUNTERS, key: this.#countersKey() };
    await rows.fetch([counters]);
    const saved = rows.get(COUNTERS, counters.key);
    this.state.nextQueue = saved?.nextQueue ?? 1;
    this.state.nextEpoch = saved?.nextEpoch ?? 1;
    for await (const { key, value } of this.#all(QUEUE)) {
      const queueNo = readU32be(key, 5);
      const cell = new QueueCell(rows, logs.open(logIdOf(queueNo)), queueNo, value);
      cell.isDirty = false;
      this.state.add(cell);
    }
    for await (const { key, value } of this.#all(LEASE)) {
      const cell = this.state.byNumber.get(readU32be(key, 5));
      if (cell === undefined) continue;
      const offset = readU53be(key, 9);
      const { epoch, deadlineMs, sessionId, worker, leasedAtMs, meta } = value;
      const grant: Grant = {
        firstOffset: offset,
        firstEpoch: epoch,
        count: 1,
        left: 1,
        deadlineMs,
        sessionId,
        worker,
        leasedAtMs,
        meta,
      };
      cell.leases.set(offset, grant);
      cell.persistedLeases.add(offset);
      this.#leaseClock.add(cell, grant);
    }
    for (const cell of this.state.byNumber.values()) this.#noteExceptions(cell);
  }

  async *#all<V>(
    table: Parameters<ViewContext['rows']['scan']>[0] & { decode: (r: ByteReader) => V },
  ): AsyncGenerator<{ key: string; value: V }> {
    const prefix = tablePrefix(DEFAULT_TENANT, table);
    let from = prefix;
    for (;;) {
      const page = await this.context.rows.scan(table, { from, to: after(prefix), limit: 1000 });
      yield* page as { key: string; value: V }[];
      const last = page.at(-1);
      if (last === undefined) return;
      from = `${last.key}\0`;
    }
  }

  #countersKey = (): string => tablePrefix(DEFAULT_TENANT, COUNTERS);

  reads(command: Command): readonly RowRef[] {
    const c = command as QueueCommand;
    if (c.kind !== 'enqueue' && c.kind !== 'settle') return NO_ROWS;
    if (c.kind === 'enqueue' && c.head.plain) return NO_ROWS;
    const cell = this.state.cell(c.caller.tenant, c.name);
    if (cell === undefined) return NO_ROWS;
    return c.kind === 'enqueue' ? enqueueReads(cell.keys, c) : this.#settleReads(cell, c);
  }

  #settleReads(cell: QueueCell, command: SettleCommand): readonly RowRef[] {
    let refs: RowRef[] | null = null;
    for (const range of command.acks) {
      for (let offset = range.offset; offset < range.offset + range.count; offset++) {
        const key = cell.leases.get(offset)?.meta?.key;
        if (key === undefined || key === '') continue;
        refs ??= [];
        refs.push(...laneReads(this.context.rows, cell, [offset], () => key));
      }
    }
    return refs ?? NO_ROWS;
  }

  decide(command: Command, at: Moment, emit: Emit): unknown {
    const c = command as QueueCommand;
    const { rows, random } = this.context;
    const { tenant } = c.caller;
    if (c.kind === 'declare') return this.#declare(tenant, c.name, c.spec, c.ifAbsent, emit);
    const cell = this.cell(tenant, c.name);
    const { queueNo } = cell;
    switch (c.kind) {
      case 'enqueue':
        return decideEnqueue(rows, cell, c, at, this.idPrefix(cell), emit);
      case 'settle':
        return decideSettle(rows, cell, c, at, random, emit);
      case 'delete':
        if (c.ifEmpty && cell.depth > 0)
          throw new FlowError('NOT_EMPTY', `queue ${c.name} holds ${cell.depth} jobs`);
        this.#lines.delete(queueNo);
        emit({ type: ev.DELETED, queueNo } as ev.Deleted);
        return {};
      case 'renew': {
        const untilMs = at.nowMs + (c.visibilityMs || cell.spec.visibilityTimeoutMs);
        emit({
          type: ev.SESSION_RENEWED,
          queueNo,
          sessionId: c.sessionId,
          worker: c.worker,
          untilMs,
        } as ev.SessionRenewed);
        if (c.held !== null) this.#releaseUnknown(cell, c.sessionId, c.held, at, emit);
        return { untilMs };
      }
      case 'end-session':
        return { released: this.#endSession(cell, c.sessionId, at, emit) };
      case 'purge': {
        const purged = cell.depth - cell.leases.size;
        emit({
          type: ev.PURGED,
          queueNo,
          generation: cell.state.generation + 1,
          cursor: cell.log.endOffset,
        } as ev.Purged);
        return { purged };
      }
      case 'pause':
        emit({ type: ev.PAUSED, queueNo, paused: c.paused } as ev.Paused);
        return {};
      case 'remove':
        return this.#remove(cell, c, emit);
    }
  }

  #declare(
    tenant: number,
    name: string,
    spec: ev.Declared['spec'],
    ifAbsent: boolean,
    emit: Emit,
  ): { queueNo: number } {
    const present = this.state.cell(tenant, name);
    if (present !== undefined && (ifAbsent || JSON.stringify(present.spec) === JSON.stringify(spec)))
      return { queueNo: present.queueNo };
    const queueNo = present?.queueNo ?? this.state.nextQueue;
    emit({ type: ev.DECLARED, queueNo, tenant, name, spec } as ev.Declared);
    return { queueNo };
  }

  #endSession(cell: QueueCell, sessionId: string, at: Moment, emit: Emit): number {
    return this.#release(cell, sessionId, () => false, at, emit);
  }

  /** Deliveries that never reached the worker would be renewed with its session for ever. */
  #releaseUnknown(cell: QueueCell, sessionId: string, held: readonly ev.Run[], at: Moment, emit: Emit): void {
    const epochs = new Set<number>();
    for (const { epoch, count } of held) for (let i = 0; i < count; i++) epochs.add(epoch + i);
    this.#release(cell, sessionId, (epoch) => epochs.has(epoch), at, emit);
  }

  #release(
    cell: QueueCell,
    sessionId: string,
    isKept: (epoch: number) => boolean,
    at: Moment,
    emit: Emit,
  ): number {
    const jobs: ev.PlacedJob[] = [];
    for (const [offset, grant] of cell.leases) {
      if (grant.sessionId !== sessionId || sessionId === '') continue;
      if (isKept(grant.firstEpoch + offset - grant.firstOffset)) continue;
      jobs.push(this.#returned(cell, offset, grant, 'released', '', at));
    }
    if (jobs.length > 0)
      emit({ type: ev.RETURNED, queueNo: cell.queueNo, reason: 'released', jobs } as ev.Returned);
    return jobs.length;
  }

  #returned(
    cell: QueueCell,
    offset: number,
    grant: Grant,
    reason: ev.ReturnReason,
    error: string,
    at: Moment,
  ): ev.PlacedJob {
    const terms = {
      reason,
      error,
      retryAfterMs: null,
      unrecoverable: false,
      neverDies: isDeadLetterName(cell.name),
    };
    return decideReturn(offset, heldMeta(cell, grant), terms, cell.spec, {
      nowMs: at.nowMs,
      random: this.context.random(),
    });
  }

  #remove(cell: QueueCell, c: RemoveCommand, emit: Emit): { removed: number } {
    const ready = cell.ready
      .take(c.ready.length)
      .map((row) => ({ offset: readU53be(row.key, row.key.length - 7), meta: row.value }));
    const same = ready.length === c.ready.length && ready.every((job, i) => job.offset === c.ready[i]);
    if (cell.state.cursor !== c.fromCursor || !same) {
      throw new FlowError('REVISION_MISMATCH', `queue ${cell.name} moved on while its jobs were looked at`);
    }
    emit({
      type: ev.REMOVED,
      queueNo: cell.queueNo,
      cursor: c.toCursor,
      plain: c.plain,
      ready,
    } as ev.Removed);
    return { removed: c.plain + ready.length };
  }

  encodeReply(reply: unknown): Uint8Array {
    return Buffer.from(JSON.stringify(reply));
  }

  decodeReply(bytes: Uint8Array): unknown {
    return JSON.parse(Buffer.from(bytes).toString()) as EnqueueReply;
  }

  evolve(event: Event, at: Moment): void {
    const e = event as ev.QueueEvent;
    const gone = e.type === ev.DELETED ? this.state.byNumber.get(e.queueNo) : undefined;
    this.state.evolve(e, at);
    if (gone !== undefined) {
      this.#hasDue.delete(gone);
      this.#hasDying.delete(gone);
    }
    if (e.type === ev.DEDUP_EXPIRED || e.type === ev.DELETED) return;
    if (e.type === ev.ENQUEUED && e.placed.length === 0) return;
    const cell = this.state.byNumber.get(e.queueNo);
    if (cell !== undefined) this.#noteExceptions(cell);
  }

  #noteExceptions(cell: QueueCell): void {
    const { delayed, retrying, dying } = cell.state;
    if (delayed + retrying > 0) {
      this.#hasDue.add(cell);
      const first = cell.due.first();
      this.#nextDueMs = Math.min(
        this.#nextDueMs,
        first === undefined ? 0 : readU53be(first.key, first.key.length - 14),
      );
    }
    if (dying > 0) this.#hasDying.add(cell);
  }

  encode(event: Event, into: ByteWriter): void {
    ev.encodeEvent(event as ev.QueueEvent, into);
  }

  decode(type: number, from: ByteReader): Event {
    return ev.decodeEvent(type, from);
  }

  tick(at: Moment, emit: EmitThen): void {
    if (this.#leaseClock.nextAtMs() <= at.nowMs) this.#endLeases(at, emit);
    if (this.#hasDue.size > 0 && this.#nextDueMs <= at.nowMs) this.#makeDue(at, emit);
    if (this.#hasDying.size > 0) this.#buryDying(at, emit);
    if (at.nowMs >= this.#nextHousekeepingMs) this.#keepHouse(at, emit);
    const nextEpoch = () => this.state.nextEpoch;
    for (const line of this.#lines.values()) line.dispatch(at, nextEpoch, emit);
  }

  wakeAtMs(): number {
    const dueMs = this.#hasDue.size > 0 ? this.#nextDueMs : Number.POSITIVE_INFINITY;
    return Math.min(this.#leaseClock.nextAtMs(), dueMs, this.#nextHousekeepingMs);
  }

  #endLeases(at: Moment, emit: EmitThen): void {
    for (const { cell, grant } of this.#leaseClock.due(at.nowMs, SLICE)) {
      const jobs: ev.PlacedJob[] = [];
      const epochs: number[] = [];
      for (let i = 0; i < grant.count; i++) {
        const offset = grant.firstOffset + i;
        if (cell.leases.get(offset) !== grant) continue;
        jobs.push(
          this.#returned(cell, offset, grant, 'timed_out', 'lease expired: no ack and no renewal', at),
        );
        epochs.push(grant.firstEpoch + i);
      }
      if (jobs.length === 0) continue;
      const waiter = this.#lines
        .get(cell.queueNo)
        ?.waiters.find((w) => w.sessionId !== '' && w.sessionId === grant.sessionId);
      const event = { type: ev.RETURNED, queueNo: cell.queueNo, reason: 'timed_out', jobs } as ev.Returned;
      emit(event, () =>
        waiter?.lost(
          jobs.map((j) => j.offset),
          epochs,
        ),
      );
    }
  }

  #makeDue(at: Moment, emit: EmitThen): void {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const cell of this.#hasDue) {
      const jobs: ev.BecameDue['jobs'][number][] = [];
      for (const { key, value: meta } of cell.due.take(SLICE)) {
        if (meta.readyAtMs > at.nowMs) break;
        jobs.push({ offset: readU53be(key, key.length - 7), meta, wasRetry: meta.acquired > 0 });
      }
      if (jobs.length > 0) emit({ type: ev.BECAME_DUE, queueNo: cell.queueNo, jobs } as ev.BecameDue);
      const first = cell.due.first();
      if (first !== undefined) nextMs = Math.min(nextMs, first.value.readyAtMs);
      else if (cell.due.isStale()) void cell.due.refill().then(() => this.#dueAgain());
      if (cell.state.delayed + cell.state.retrying === 0) this.#hasDue.delete(cell);
    }
    this.#nextDueMs = nextMs;
  }

  #dueAgain(): void {
    this.#nextDueMs = 0;
    this.context.wake();
  }

  /** Moves exhausted jobs to their dead-letter queue, once their bytes and lanes are in memory. */
  #buryDying(at: Moment, emit: EmitThen): void {
    const { rows } = this.context;
    for (const cell of this.#hasDying) {
      if (cell.dying.isStale()) void cell.dying.refill().then(this.context.wake);
      for (const { key, value: meta } of cell.dying.take(SLICE)) {
        const offset = readU53be(key, key.length - 7);
        const chunk = cell.log.resident(offset, 1);
        const missing = laneReads(rows, cell, [offset], () => meta.key).filter(
          (ref) => !rows.isResident(ref),
        );
        if (chunk === undefined || missing.length > 0) {
          const loads = [rows.fetch(missing), chunk === undefined ? cell.log.load(offset, 1) : undefined];
          void Promise.allSettled(loads).then(this.context.wake);
          break;
        }
        const source = sourceIn(chunk.bytes, offset);
        const dead = this.#deadQueueOf(cell, emit);
        const from = {
          queue: cell.name,
          id: this.idPrefix(cell) + offset.toString(36),
          error: meta.lastError,
        };
        const batch = deadJobBatch(source.bytes, offset - source.head.baseOffset, from);
        const { endOffset } = dead.log;
        const change = unblock(rows, cell, offset, meta, at);
        const event = {
          type: ev.DEAD_LETTERED,
          queueNo: cell.queueNo,
          offset,
          generation: meta.generation,
          deadQueueNo: dead.queueNo,
          batch: patched(batch, endOffset, at.nowMs),
          unblocked: change === null ? [] : [change],
        };
        emit(event as ev.DeadLettered);
      }
      if (cell.state.dying === 0) this.#hasDying.delete(cell);
    }
  }

  #deadQueueOf(cell: QueueCell, emit: EmitThen): QueueCell {
    const name = cell.spec.deadLetterQueue || `${cell.name}.dead`;
    this.#declare(cell.tenant, name, defaultsFor(`${cell.name}.dead`), true, emit);
    const dead = this.state.cell(cell.tenant, name);
    assert(dead !== undefined, 'it has just been declared');
    return dead;
  }

  #keepHouse(at: Moment, emit: EmitThen): void {
    this.#nextHousekeepingMs = at.nowMs + HOUSEKEEPING_MS;
    for (const cell of this.state.byNumber.values()) {
      const { retentionMs, retentionBytes } = cell.spec;
      const expired = cell.log.expiredOffset({
        olderThanMs: at.nowMs - retentionMs,
        bytesMax: retentionBytes,
      });
      const offset = expired > cell.log.startOffset ? Math.min(expired, cell.floor()) : 0;
      if (offset > cell.log.startOffset)
        emit({ type: ev.TRIMMED, queueNo: cell.queueNo, offset } as ev.Trimmed);
    }
    const keys: ev.DedupExpired['keys'][number][] = [];
    for (const { key } of this.#dedupExpiry.take(SLICE * 4)) {
      const untilMs = readU53be(key, 5);
      if (untilMs > at.nowMs) break;
      keys.push({ queueNo: readU32be(key, 12), key: readPart(key, 16).bytes, untilMs });
    }
    if (keys.length > 0) emit({ type: ev.DEDUP_EXPIRED, keys } as ev.DedupExpired);
    if (this.#dedupExpiry.isStale()) void this.#dedupExpiry.refill().then(this.context.wake);
    if (keys.length === SLICE * 4) this.#nextHousekeepingMs = at.nowMs + 20;
  }

  flush(): void {
    this.state.flush(this.#nextHousekeepingMs - HOUSEKEEPING_MS, this.#countersKey());
  }
}

const NO_ROWS: readonly RowRef[] = [];

function patched(batch: Buffer, offset: number, timeMs: number): Buffer {
  patchHead(batch, offset, timeMs);
  return batch;
}

export const createQueueView = (context: ViewContext): QueueView => new QueueView(context);
