// The queue view of one shard: glue between the decisions (enqueue, settle, dispatch, policy), the state
// (evolve) and the shard. Owns what happens by itself: due jobs, lease ends, dead-lettering, retention.
import assert from 'node:assert/strict';
import { FlowError } from '@flowmesh/protocol';
import { NO_SCHEMAS, type Schemas } from '../schema/check.ts';
import type { Referrer } from '../schema/registry.ts';
import type { Command, Emit, Event, Moment, View, ViewContext } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { RowRef } from '../storage/contract.ts';
import { after, DEFAULT_TENANT, readU32be, readU53be } from '../storage/keys.ts';
import { type Grant, QueueCell } from './cell.ts';
import type { EnqueueReply, QueueCommand, RemoveCommand, SettleCommand } from './commands.ts';
import { checkDelete, decideDeclare, decideRelease } from './declare.ts';
import { QueueLine, type Waiter } from './dispatch.ts';
import { decideEnqueue, enqueueReads } from './enqueue.ts';
import { decodeEvent, encodeEvent } from './event-bytes.ts';
import * as ev from './events.ts';
import { logIdOf, QueueState } from './evolve.ts';
import { decideFlow, flowReads } from './flow-decide.ts';
import * as fe from './flow-events.ts';
import { evolveFlow } from './flow-evolve.ts';
import { FlowKeeper } from './flow-keeper.ts';
import { flushQueues } from './flush.ts';
import { REFILLED } from './key-events.ts';
import { LeaseClock } from './lease-clock.ts';
import { decideLife, isLifeCommand, lifeReads } from './life-decide.ts';
import * as life from './life-events.ts';
import { evolveLife } from './life-evolve.ts';
import { limitKeyOf } from './limits.ts';
import { decodeOwned, encodeOwned, evolveOwned, isOwned, noteChange } from './owner-events.ts';
import { countedNow } from './past.ts';
import { checkedEnqueue, checkedFlow, checkSchedules } from './payload-checks.ts';
import { defaultsFor } from './policy.ts';
import { unmoved } from './redrive-decide.ts';
import { Schedules } from './schedules.ts';
import { decideRenew, releaseSession } from './sessions.ts';
import { decideSettle, laneReads } from './settle.ts';
import { COUNTERS, LEASE, QUEUE, tablePrefix } from './tables.ts';
import { type EmitThen, Upkeep } from './upkeep.ts';

/** Lines without workers whose turns are kept. */
const IDLE_LINES_MAX = 64;

export class QueueView implements View {
  readonly name = 'queue';
  readonly events = [64, 111] as const;
  readonly context: ViewContext;
  readonly state: QueueState;
  readonly #leaseClock = new LeaseClock();
  readonly #lines = new Map<number, QueueLine>();
  readonly #upkeep: Upkeep;
  readonly flows: FlowKeeper;
  readonly schedules: Schedules;

  /** What payloads of queues that refer to one must match. */
  readonly #schemas: Schemas;

  constructor(context: ViewContext, schemas: Schemas) {
    this.context = context;
    this.#schemas = schemas;
    this.state = new QueueState(context, this.#leaseClock);
    this.schedules = new Schedules(context, schemas);
    this.flows = new FlowKeeper(context, this.state, {
      idPrefix: (cell) => this.idPrefix(cell),
      waiterOf: (cell, sessionId) => this.waiterOf(cell, sessionId),
    });
    this.#upkeep = new Upkeep(context, this.state, this.#leaseClock, {
      deadQueueOf: (cell, emit) => this.#deadQueueOf(cell, emit),
      idPrefix: (cell) => this.idPrefix(cell),
      waiterOf: (cell, sessionId) => this.waiterOf(cell, sessionId),
    });
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
      line = new QueueLine(cell, this.context);
      this.#lines.set(cell.queueNo, line);
    }
    line.waiters.push(waiter);
    cell.holders.came(waiter.worker);
    this.context.wake();
  }

  *referrers(tenant: number): Generator<Referrer> {
    for (const { tenant: of, name, spec } of this.state.byName.values())
      if (of === tenant && spec.schemaRef !== undefined)
        yield { what: `queue ${name}`, schema: spec.schemaRef.name };
  }

  /** The session ends or has a new connection: nothing may be granted to the old one any more. */
  removeSession(cell: QueueCell, sessionId: string): void {
    const old = this.waiterOf(cell, sessionId);
    if (old !== undefined) this.removeWaiter(cell, old);
  }

  removeWaiter(cell: QueueCell, waiter: Waiter): void {
    const line = this.#lines.get(cell.queueNo);
    const index = line?.waiters.indexOf(waiter) ?? -1;
    if (line === undefined || index < 0) return;
    line.waiters.splice(index, 1);
    cell.holders.left(waiter.worker);
    if (line.waiters.length > 0) return;
    if (!line.isWorthKeeping) {
      this.#closeLine(cell.queueNo);
      return;
    }
    // Behind those that were used later.
    this.#lines.delete(cell.queueNo);
    this.#lines.set(cell.queueNo, line);
    if (this.#lines.size <= IDLE_LINES_MAX) return;
    for (const [queueNo, { waiters }] of this.#lines) {
      if (waiters.length > 0) continue;
      this.#closeLine(queueNo);
      return;
    }
  }

  #closeLine(queueNo: number): void {
    this.#lines.get(queueNo)?.close();
    this.#lines.delete(queueNo);
  }

  /** The next job to hand out is on its way from the disk. */
  isReading(cell: QueueCell): boolean {
    return this.#lines.get(cell.queueNo)?.isLoading === true;
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
    this.state.deletedAt = saved?.deletedAt ?? 0;
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
      const { epoch: firstEpoch, ...lease } = value;
      const holder = cell.holders.of(lease.worker);
      const grant: Grant = { firstOffset: offset, firstEpoch, count: 1, left: 1, ...lease, holder };
      cell.hold(grant);
      cell.persistedLeases.set(offset, grant);
      this.#leaseClock.add(cell, grant);
      if (lease.meta !== null) cell.full.add(limitKeyOf(lease.meta));
    }
    for (const cell of this.state.byNumber.values()) {
      this.#upkeep.note(cell);
      this.schedules.note(cell, true);
      this.flows.orphans.note(cell);
    }
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
    if (isLifeCommand(c)) return lifeReads(this.context.rows, this.state.cell(c.caller.tenant, c.name), c);
    if (c.kind === 'flow') return flowReads(this.context.rows, this.state, c);
    if (c.kind !== 'enqueue' && c.kind !== 'settle') return NO_ROWS;
    if (c.kind === 'enqueue' && c.head.plain) return NO_ROWS;
    const cell = this.state.cell(c.caller.tenant, c.name);
    if (cell === undefined) return NO_ROWS;
    return c.kind === 'enqueue' ? enqueueReads(this.context.rows, cell, c) : this.#settleReads(cell, c);
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
    if (c.kind === 'declare') {
      checkSchedules(this.#schemas, tenant, c.spec);
      return decideDeclare(this.state, c, emit);
    }
    if (c.kind === 'flow')
      return decideFlow(
        rows,
        checkedFlow(this.#schemas, (name) => this.cell(tenant, name), c),
        at,
        { cell: (name) => this.cell(tenant, name), idPrefix: (of) => this.idPrefix(of) },
        emit,
      );
    const cell = this.cell(tenant, c.name);
    const { queueNo } = cell;
    switch (c.kind) {
      case 'enqueue':
        if (cell.state.draining)
          throw new FlowError('QUEUE_DRAINING', `queue ${c.name} finishes what it has and takes no new jobs`);
        return checkedEnqueue(this.#schemas, cell, c, (checked) =>
          decideEnqueue(rows, cell, checked, at, this.idPrefix(cell), emit),
        );
      case 'settle':
        return decideSettle(rows, cell, c, at, random, emit);
      case 'delete':
        checkDelete(cell, c);
        this.#closeLine(queueNo);
        emit({ type: ev.DELETED, queueNo } as ev.Deleted);
        return {};
      case 'release':
        return decideRelease(cell, c.owner, emit);
      case 'renew':
        return decideRenew(cell, c, at, random, emit);
      case 'end-session':
        // What it gives back must not come to it again.
        this.removeSession(cell, c.sessionId);
        return releaseSession(cell, c.sessionId, () => false, at, random, emit);
      case 'purge': {
        const purged = cell.depth - cell.leases.size;
        emit(countedNow(cell));
        const generation = cell.state.generation + 1;
        emit({ type: ev.PURGED, queueNo, generation, cursor: cell.log.endOffset } as ev.Purged);
        return { purged };
      }
      case 'pause':
        emit({ type: ev.PAUSED, queueNo, paused: c.paused } as ev.Paused);
        return {};
      case 'remove':
        return this.#remove(cell, c, emit);
      default:
        return decideLife(this.state, cell, c, at, emit);
    }
  }

  #remove(cell: QueueCell, c: RemoveCommand, emit: Emit): { removed: number } {
    const ready = unmoved(cell, c);
    emit(countedNow(cell));
    emit({
      type: ev.REMOVED,
      queueNo: cell.queueNo,
      cursor: c.toCursor,
      plain: c.plain,
      ready,
    } as ev.Removed);
    return { removed: c.plain + ready.length };
  }

  /** Who is connected under a session. */
  waiterOf(cell: QueueCell, sessionId: string): Waiter | undefined {
    return sessionId === ''
      ? undefined
      : this.#lines.get(cell.queueNo)?.waiters.find((w) => w.sessionId === sessionId);
  }

  #deadQueueOf(cell: QueueCell, emit: EmitThen): QueueCell {
    const name = cell.spec.deadLetterQueue || `${cell.name}.dead`;
    if (this.state.cell(cell.tenant, name) === undefined)
      emit({
        type: ev.DECLARED,
        queueNo: this.state.nextQueue,
        tenant: cell.tenant,
        name,
        spec: defaultsFor(`${cell.name}.dead`),
      } as ev.Declared);
    const dead = this.state.cell(cell.tenant, name);
    assert(dead !== undefined, 'it has just been declared');
    return dead;
  }

  encodeReply(reply: unknown): Uint8Array {
    return Buffer.from(JSON.stringify(reply));
  }

  decodeReply(bytes: Uint8Array): unknown {
    return JSON.parse(Buffer.from(bytes).toString()) as EnqueueReply;
  }

  evolve(event: Event, at: Moment): void {
    if (fe.isFlowEvent(event)) {
      evolveFlow(this.state, event, at, DEFAULT_TENANT);
      const parent = this.state.byNumber.get(event.queueNo);
      if (parent !== undefined) this.#upkeep.note(parent);
      return;
    }
    if (life.isLifeEvent(event)) {
      evolveLife(this.state, event, at);
      const touched = this.state.byNumber.get(event.queueNo);
      if (touched !== undefined && event.type === life.CANCELLED) this.#upkeep.note(touched);
      if (touched !== undefined && event.type === life.DRAINING) noteChange(this.state, touched, event, at);
      return;
    }
    if (isOwned(event)) {
      evolveOwned(this.state, event);
      const owned = this.state.byNumber.get(event.queueNo);
      if (owned !== undefined) noteChange(this.state, owned, event, at);
      return;
    }
    const e = event as ev.QueueEvent;
    const gone = e.type === ev.DELETED ? this.state.byNumber.get(e.queueNo) : undefined;
    this.state.evolve(e, at);
    if (gone !== undefined) {
      this.#upkeep.forget(gone);
      this.flows.orphans.forget(gone);
      this.schedules.forget(gone);
      this.#upkeep.sweeper.note(gone, true);
      noteChange(this.state, gone, e, at);
    }
    if (e.type === ev.DEDUP_EXPIRED || e.type === ev.DELETED || e.type === REFILLED) return;
    if (e.type === ev.ENQUEUED && e.placed.length === 0) return;
    const cell = this.state.byNumber.get(e.queueNo);
    if (cell === undefined) return;
    this.#upkeep.note(cell);
    const isDeclaration = e.type === ev.DECLARED;
    if (isDeclaration || e.type === ev.PAUSED) noteChange(this.state, cell, e, at);
    if (isDeclaration || cell.schedules.size > 0) this.schedules.note(cell, isDeclaration);
    if (e.type === ev.PURGED) this.flows.orphans.note(cell);
    if (e.type === ev.TRIMMED) this.#upkeep.sweeper.note(cell, false);
  }

  encode(event: Event, into: ByteWriter): void {
    if (fe.isFlowEvent(event)) fe.encodeFlowEvent(event, into);
    else if (life.isLifeEvent(event)) life.encodeLifeEvent(event, into);
    else if (isOwned(event)) encodeOwned(event, into);
    else encodeEvent(event as ev.QueueEvent, into);
  }

  decode(type: number, from: ByteReader): Event {
    if (fe.isFlowEvent({ type })) return fe.decodeFlowEvent(type, from);
    if (isOwned({ type })) return decodeOwned(from);
    return life.isLifeEvent({ type }) ? life.decodeLifeEvent(type, from) : decodeEvent(type, from);
  }

  tick(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    this.#upkeep.run(at, emit, hasRoom);
    this.schedules.run(at, emit, hasRoom);
    this.flows.run(at, emit, hasRoom);
    const nextEpoch = () => this.state.nextEpoch;
    for (const line of this.#lines.values()) line.dispatch(at, nextEpoch, emit, hasRoom);
  }

  wakeAtMs(): number {
    let nextMs = Math.min(this.#upkeep.wakeAtMs(), this.schedules.wakeAtMs(), this.flows.wakeAtMs());
    for (const { wakeAtMs } of this.#lines.values()) nextMs = Math.min(nextMs, wakeAtMs);
    return nextMs;
  }

  flush(): void {
    flushQueues(this.state, this.#upkeep.lastMs, this.#countersKey());
  }
}

const NO_ROWS: readonly RowRef[] = [];

export const createQueueView = (context: ViewContext, schemas: Schemas = NO_SCHEMAS): QueueView =>
  new QueueView(context, schemas);
