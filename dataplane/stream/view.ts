// The stream view of one shard: takes commands to their decisions, and does of its own accord what time asks
// for: fences members that went silent, trims what is past its retention, sweeps what deleted streams leave
// behind.
//   W1. `tick` runs before every batch, so it returns at once unless something is due.
//   W2. A group's new state is told to `onGroupChanged` only when it is durable.

import type { DeclaredThings } from '../admin/declared.ts';
import { NO_SCHEMAS, type Schemas } from '../schema/check.ts';
import type { Referrer } from '../schema/registry.ts';
import type {
  AfterDurable,
  Emit,
  Event,
  Moment,
  ShardPort,
  View,
  ViewContext,
} from '../shard/state-machine.ts';
import { ByteWriter } from '../storage/bytes.ts';
import { unreachable } from './assert.ts';
import type { GroupCell, PartitionCell, StreamCell } from './cells.ts';
import { decodeReply, encodeReply, type StreamCommand, type StreamReply, VIEW } from './commands.ts';
import { Compactor } from './compactor.ts';
import {
  decideJoin,
  decideLeave,
  decideRelease,
  decideReposition,
  rebalance,
  removeMember,
} from './coordinator.ts';
import { decideCommit, decideGrant, decideMove } from './cursors.ts';
import {
  decideDeclare,
  decideDelete,
  decideDisown,
  decidePublish,
  decideSeal,
  sweep,
  trim,
} from './declare.ts';
import { declaredStreams } from './declared.ts';
import { decodeEvent, EVENT_RANGE, encodeEvent, type StreamEvent } from './events.ts';
import { loadState } from './load.ts';
import { placementOf } from './placement.ts';
import { HEARTBEAT_MS, SESSION_TIMEOUT_MS, StreamState } from './state.ts';

/** Retention goes by whole segments of many minutes: to look more often finds nothing. */
const TRIM_EVERY_MS = 10_000;
const TRIM_PARTITIONS_MAX = 256;
const SESSIONS_EVERY_MS = 1_000;
/** A deleted stream is swept beside the traffic, one slice each time. */
const SWEEP_EVERY_MS = 50;

type TickEmit = (event: Event, then?: AfterDurable) => void;

export interface StreamView extends View {
  /** The shard serves: appends are no longer replayed but live, members may be heard of. */
  attach(port: ShardPort, onGroupChanged: (group: GroupCell) => void): void;
  /** As evolved, so maybe not durable: await `settled` before telling anybody. */
  find(tenant: number, name: string): StreamCell | undefined;
  streams(tenant: number): Iterable<StreamCell>;
  /** Of the stream with this number on the shard; empty: there is none any more. */
  nameOf(no: number): string;
  /** Of all tenants. */
  allStreams(): Iterable<StreamCell>;
  /** A partition is being cleaned by key. */
  readonly isCleaning: boolean;
  /** Streams whose home is here. */
  readonly declared: DeclaredThings;
  /** What values of streams that refer to one must match. */
  readonly schemas: Schemas;
  /** Streams whose home is here, as far as they refer to a schema. */
  referrers(tenant: number): Iterable<Referrer>;
  /** A member was heard of. */
  heard(group: GroupCell, member: string): void;
}

export const createStreamView = (context: ViewContext, schemas: Schemas = NO_SCHEMAS): StreamView =>
  new ShardStreams(context, schemas);

class ShardStreams implements StreamView {
  readonly name = VIEW;
  readonly events = EVENT_RANGE;
  readonly #context: ViewContext;
  readonly schemas: Schemas;
  readonly #state: StreamState;
  /** Replies are copied at once by who asks for their bytes. */
  readonly #scratch = new ByteWriter(256);
  #port: ShardPort | null = null;
  #onGroupChanged: (group: GroupCell) => void = () => {};
  #dueMs = 0;
  #sessionsDueMs = 0;
  #sessionsSeenMs = 0;
  #trimDueMs = 0;
  #trimQueue: PartitionCell[] = [];
  readonly #compactor: Compactor;

  constructor(context: ViewContext, schemas: Schemas) {
    this.#context = context;
    this.schemas = schemas;
    this.#state = new StreamState(context.rows, context.logs);
    this.#compactor = new Compactor(context.wake);
  }

  load(): Promise<void> {
    return loadState(this.#state);
  }

  attach(port: ShardPort, onGroupChanged: (group: GroupCell) => void): void {
    this.#port = port;
    this.#onGroupChanged = onGroupChanged;
    this.#state.visible.attach(() => port.settled());
    const nowMs = port.nowMs();
    for (const group of this.#groups()) {
      this.#state.outgrown.add(group);
      for (const member of group.members.values()) member.deadlineMs = nowMs + SESSION_TIMEOUT_MS;
    }
    this.#sessionsSeenMs = nowMs;
    this.#context.wake();
  }

  find(tenant: number, name: string): StreamCell | undefined {
    return this.#state.find(tenant, name);
  }

  get declared(): DeclaredThings {
    return declaredStreams(this.#state, this.#context);
  }

  *referrers(tenant: number): Generator<Referrer> {
    const { shard, shards } = this.#context;
    for (const { cell } of this.streams(tenant)) {
      const { name, schemaRef } = cell.value;
      if (schemaRef !== null && placementOf(name, shards).home === shard)
        yield { what: `stream ${name}`, schema: schemaRef.name };
    }
  }

  streams(tenant: number): Iterable<StreamCell> {
    return this.#state.tenants.get(tenant)?.values() ?? [];
  }

  nameOf(no: number): string {
    return this.#state.byNo.get(no)?.cell.value.name ?? '';
  }

  allStreams(): Iterable<StreamCell> {
    return this.#state.all();
  }

  get isCleaning(): boolean {
    return this.#compactor.isRunning;
  }

  heard(group: GroupCell, member: string): void {
    const cell = group.members.get(member);
    if (cell !== undefined && this.#port !== null) cell.deadlineMs = this.#port.nowMs() + SESSION_TIMEOUT_MS;
  }

  reads(): [] {
    return [];
  }

  decide(command: StreamCommand, at: Moment, emit: Emit): StreamReply {
    const state = this.#state;
    switch (command.kind) {
      case 'publish':
        return decidePublish(state, this.schemas, command, at, emit);
      case 'commit':
        return decideCommit(state, command, emit);
      case 'declare':
        return decideDeclare(state, command, this.#context, emit);
      case 'delete':
        return decideDelete(state, command, emit);
      case 'seal':
        return decideSeal(state, command);
      case 'disown':
        return decideDisown(state, command, emit);
      case 'join':
        return decideJoin(state, command, emit);
      case 'leave':
        return decideLeave(state, command, emit);
      case 'release':
        return decideRelease(state, command, emit);
      case 'reposition':
        return decideReposition(state, command, emit);
      case 'grant':
        return decideGrant(state, command, emit);
      case 'move':
        return decideMove(state, command, emit);
      default:
        return unreachable(command);
    }
  }

  encodeReply(reply: unknown): Uint8Array {
    this.#scratch.length = 0;
    encodeReply(reply as StreamReply, this.#scratch);
    return this.#scratch.view();
  }

  decodeReply(bytes: Uint8Array): StreamReply {
    return decodeReply(bytes);
  }

  evolve(event: Event, at: Moment): void {
    this.#state.evolve(event as StreamEvent, at);
  }

  readonly encode = encodeEvent;
  readonly decode = decodeEvent;

  tick(at: Moment, emit: TickEmit): void {
    if (this.#port === null) return;
    this.#compactor.turn();
    if (this.#state.outgrown.size > 0) this.#fillOutgrown(emit);
    if (at.nowMs < this.#dueMs) return;
    if (at.nowMs >= this.#sessionsDueMs) this.#fenceSilent(at, emit);
    this.#trimSome(at, emit);
    this.#compactor.look(this.#state.all(), at.nowMs);
    for (const stream of this.#state.deleted) {
      sweep(stream, emit);
      break;
    }
    const sweepDueMs = this.#state.deleted.size > 0 ? at.nowMs + SWEEP_EVERY_MS : Number.POSITIVE_INFINITY;
    this.#dueMs = Math.min(this.#sessionsDueMs, this.#trimDueMs, sweepDueMs, this.#compactor.dueMs);
  }

  wakeAtMs(): number {
    if (this.#port === null || this.#state.byNo.size === 0) return Number.POSITIVE_INFINITY;
    return this.#dueMs;
  }

  flush(): void {
    this.#state.cells.flush();
  }

  #fillOutgrown(emit: TickEmit): void {
    for (const group of this.#state.outgrown) {
      this.#state.outgrown.delete(group);
      if (group.members.size > 0 && group.assignments.size < group.stream.cell.value.partitions) {
        this.#change(group, emit, (each) => rebalance(group, each));
      }
    }
  }

  /**
   * Members that were not heard of for the session timeout lose their partitions, however slowly they work.
   */
  #fenceSilent(at: Moment, emit: TickEmit): void {
    this.#sessionsDueMs = at.nowMs + SESSIONS_EVERY_MS;
    // When this process itself was stopped for a while, heartbeats wait unread: give them the time to come
    // in.
    const isLate = at.nowMs - this.#sessionsSeenMs > HEARTBEAT_MS;
    this.#sessionsSeenMs = at.nowMs;
    for (const group of this.#groups()) {
      for (const member of [...group.members.values()]) {
        if (isLate) member.deadlineMs = Math.max(member.deadlineMs, at.nowMs + 2 * HEARTBEAT_MS);
        if (member.deadlineMs > at.nowMs) continue;
        this.#change(group, emit, (each) => removeMember(group, member.member, each));
      }
    }
  }

  #change(group: GroupCell, emit: TickEmit, run: (emit: Emit) => void): void {
    let isFirst = true;
    run((event) => {
      emit(event, isFirst ? () => this.#onGroupChanged(group) : undefined);
      isFirst = false;
    });
  }

  #trimSome(at: Moment, emit: Emit): void {
    if (at.nowMs < this.#trimDueMs) return;
    if (this.#trimQueue.length === 0) {
      for (const stream of this.#state.all()) this.#trimQueue.push(...stream.partitions.values());
    }
    for (const partition of this.#trimQueue.splice(-TRIM_PARTITIONS_MAX)) {
      if (!partition.stream.cell.value.isDeleted) trim(partition, at, emit);
    }
    this.#trimDueMs = at.nowMs + (this.#trimQueue.length > 0 ? SWEEP_EVERY_MS : TRIM_EVERY_MS);
  }

  *#groups(): IterableIterator<GroupCell> {
    for (const stream of this.#state.all()) yield* stream.groups.values();
  }
}
