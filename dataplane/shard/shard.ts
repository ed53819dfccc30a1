import { FlowError } from '@flowmesh/protocol';
import { type Journal, JournalFull } from '../journal/journal.ts';
import type { Runtime } from '../runtime.ts';
import type { Table } from '../storage/contract.ts';
import type { RowStore } from '../storage/row-store.ts';
import { Batch, type Done, promised } from './batch.ts';
import {
  BATCH_SOFT_BYTES,
  CAUSE_BYTES_MAX,
  COMMAND_BYTES_MAX,
  REPLY_BYTES_MAX,
  TICK_BYTES,
  TICK_EVENT_BYTES_MAX,
} from './bounds.ts';
import type { Position } from './checkpoint.ts';
import type { ShardClock } from './clock.ts';
import { type CauseNote, type Effects, noteOf } from './effects.ts';
import { History } from './history.ts';
import { Inbox, type Pending, pendingOf } from './inbox.ts';
import { Missing } from './missing.ts';
import type { Producers } from './producers.ts';
import { asFlowError, overloaded, tooLarge } from './refusals.ts';
import {
  type Command,
  type Event,
  type HistoryEntry,
  type HistorySubject,
  type MutationId,
  NOT_NOW,
  type ShardPort,
  type View,
} from './state-machine.ts';
import { ViewTable } from './view-table.ts';
import { WakeTimer } from './wake-timer.ts';

const FULL_RETRY_MS = 500;

export interface ShardParts {
  readonly id: number;
  readonly shards: number;
  readonly runtime: Runtime;
  readonly clock: ShardClock;
  readonly rows: RowStore;
  readonly journal: Journal;
  readonly fence: number;
  readonly room: { demand(): void };
  readonly producers: Producers;
  readonly effects: Effects;
  /** Producers first; by event range and by name. */
  readonly views: readonly View[];
  /** The shard cannot go on: the process must end. */
  readonly onFatal: (error: FlowError) => void;
  /** Called after each sealed batch: time for a checkpoint? */
  readonly afterSeal: (seq: number, timeMs: number, bytes: number) => void;
}

export class Shard implements ShardPort {
  readonly id: number;
  readonly shards: number;
  readonly timeline: History;
  readonly #p: ShardParts;
  readonly #views: ViewTable;
  #open = new Batch();
  #inFlight: Batch | null = null;
  #spare = new Batch();
  /** The last durable entry; time would begin again where it ends. */
  #durable: Position;
  /** The latest time that what is being decided shows. */
  #shownMs = 0;
  readonly #inbox = new Inbox();
  readonly #missing: Missing;
  #isFetching = false;
  #isFlushArmed = false;
  #isInTick = false;
  readonly #timer: WakeTimer;
  #failure: FlowError | null = null;
  #moment: { nowMs: number; position: number };
  /** How far what is being decided may fill the open batch. */
  #endBytes = 0;
  #note: CauseNote | null = null;

  constructor(parts: ShardParts, durable: Position) {
    this.#p = parts;
    this.id = parts.id;
    this.shards = parts.shards;
    this.#durable = durable;
    this.#open.seq = durable.seq + 1;
    this.#moment = { nowMs: 0, position: this.#open.seq };
    parts.rows.openBatch = this.#open.seq;
    this.#views = new ViewTable(parts.views);
    this.#missing = new Missing(parts, this.#views);
    this.#timer = new WakeTimer(parts.runtime, this.wake);
    const { journal } = parts;
    this.timeline = new History({ journal, views: this.#views, shard: this, open: () => this.#open });
  }

  /** Everything that was decided is durable: the state is that at the end of the entry `durableSeq`. */
  get isQuiet(): boolean {
    return this.#open.isEmpty && this.#inFlight === null && !this.#isInTick;
  }

  get durableSeq(): number {
    return this.#durable.seq;
  }

  nowMs(): number {
    return this.#p.clock.nowMs();
  }

  peek<V>(table: Table<V>, key: string): V | undefined | typeof NOT_NOW {
    const { rows } = this.#p;
    if (this.#failure !== null || !rows.isResident({ table, key })) return NOT_NOW;
    rows.newestRead = 0;
    const value = rows.get(table, key);
    return rows.newestRead > this.#durable.seq ? NOT_NOW : value;
  }

  momentMs(): number {
    return this.#open.isEmpty ? this.nowMs() : this.#open.timeMs;
  }

  submit(command: Command, done: Done): void {
    this.#accept(pendingOf([command], command.mutation, false, done));
  }

  call<R>(command: Command): Promise<R> {
    return promised((done) => this.submit(command, done));
  }

  transact(commands: readonly Command[], mutation: MutationId | undefined): Promise<unknown[]> {
    return promised((done) => this.#accept(pendingOf(commands, mutation, true, done)));
  }

  settled(shownMs = 0): Promise<void> {
    return promised((done) => {
      const batch = this.#timeShown(shownMs) ?? this.#newestUnsettled();
      if (this.#failure !== null) done(this.#failure, undefined);
      else if (batch === null) done(null, undefined);
      else batch.wait(done, null, undefined);
    });
  }

  /** Resolves when the entry `seq`, which has been sealed, is durable. */
  durable(seq: number): Promise<void> {
    const batch = this.#inFlight;
    if (seq <= this.#durable.seq || batch === null) return Promise.resolve();
    return promised((done) => batch.wait(done, null, undefined));
  }

  /** A view wants to run its `tick`: a worker came, rows became resident. */
  readonly wake = (): void => this.#armFlush();

  readonly showsTime = (timeMs: number): void => {
    if (timeMs > this.#shownMs) this.#shownMs = timeMs;
  };

  /** Applies one entry of the journal during recovery. */
  replay(seq: number, timeMs: number, payload: Buffer): void {
    this.#p.rows.openBatch = seq;
    this.#views.evolve(payload, { nowMs: timeMs, position: seq });
    this.#durable = { seq, timeMs };
    this.#open.seq = seq + 1;
    this.#p.rows.openBatch = seq + 1;
  }

  history(subject: HistorySubject, from?: number, to?: number): AsyncIterable<HistoryEntry> {
    return this.timeline.read(subject, from, to);
  }

  /** Stops taking commands, lets everything decided become durable, and keeps quiet afterwards. */
  async close(): Promise<void> {
    if (this.#failure !== null) return;
    const error = new FlowError('UNAVAILABLE', 'the server is closing; connect to another or try again', {
      retryAfterMs: 500,
    });
    await this.settled();
    while (this.#inFlight !== null || !this.#open.isEmpty) await this.settled();
    this.#failure = error;
    this.#timer.cancel();
    this.#inbox.refuseAll(error);
  }

  #accept(pending: Pending): void {
    if (this.#failure !== null) pending.done(this.#failure, undefined);
    else if (this.#inbox.isFull) pending.done(overloaded(), undefined);
    else if (this.#inbox.size > 0 || !this.#isReady(pending)) {
      this.#inbox.push(pending);
      this.#pump();
    } else {
      this.#decide(pending);
      this.#armFlush();
    }
  }

  /** May be decided now: the batch has room and every row is resident. */
  #isReady(pending: Pending): boolean {
    return (
      !this.#isInTick && this.#open.writer.length < BATCH_SOFT_BYTES && this.#missing.count(pending) === 0
    );
  }

  #pump(): void {
    if (this.#isFetching || this.#isInTick) return;
    for (let pending = this.#inbox.first(); pending !== undefined; pending = this.#inbox.first()) {
      if (this.#open.writer.length >= BATCH_SOFT_BYTES) break;
      if (this.#missing.count(pending) > 0) {
        void this.#fetch();
        break;
      }
      this.#inbox.shift();
      this.#decide(pending);
    }
    this.#armFlush();
  }

  async #fetch(): Promise<void> {
    this.#isFetching = true;
    try {
      await this.#missing.fetch(this.#inbox);
      this.#isFetching = false;
    } catch (error) {
      this.#isFetching = false;
      // Only the head is refused: the damaged row may belong to any of them, so each tries on its own.
      this.#inbox.shift()?.done(asFlowError(error), undefined);
    }
    this.#pump();
  }

  #decide(pending: Pending): void {
    const { rows } = this.#p;
    const batch = this.#open;
    const mark = batch.writer.length;
    rows.newestRead = 0;
    this.#shownMs = 0;
    if (mark === 0) batch.timeMs = this.nowMs();
    this.#moment = { nowMs: batch.timeMs, position: batch.seq };
    this.#endBytes = mark + COMMAND_BYTES_MAX;
    let error: FlowError | null = null;
    let reply: unknown;
    try {
      reply = this.#decideOnce(pending, mark);
    } catch (thrown) {
      error = asFlowError(thrown);
      if (batch.writer.length > mark) {
        // Half a decision is in memory: a bug. Nothing of this batch may become durable or be answered.
        this.#p.onFatal(error);
        this.#die(error);
        pending.done(error, undefined);
        return;
      }
    }
    this.#note = null;
    this.#answer(pending, error, reply, batch);
  }

  /** The reply; a repeat of a mutation gets the one that was given before. */
  #decideOnce(pending: Pending, mark: number): unknown {
    const { producers } = this.#p;
    const { commands, mutation } = pending;
    const [first] = commands;
    if (first === undefined) return [];
    const stored = mutation && producers.lookup(first.caller, mutation);
    if (stored) {
      // Which batch holds the first one is not recorded: it may be the newest.
      this.#p.rows.newestRead = this.#open.seq;
      return this.#views.decodeReplies(pending, stored);
    }
    if (commands.some((c) => c.grows)) this.#p.room.demand();
    this.#note = noteOf(pending);
    const reply = pending.isTransaction
      ? this.#decideAll(commands, mark)
      : this.#views.of(first).decide(first, this.#moment, this.#emit);
    if (this.#open.writer.length === mark) return reply;
    const note = this.#note;
    this.#note = null;
    this.#endBytes += CAUSE_BYTES_MAX;
    if (note !== null) this.#p.effects.note(note, this.#emit);
    if (mutation !== undefined) {
      this.#endBytes += REPLY_BYTES_MAX;
      producers.remember(
        first.caller,
        mutation,
        this.#views.encodeReplies(pending, reply, producers.scratch()),
        this.#emit,
      );
    }
    return reply;
  }

  /** All commands or none: what was evolved and encoded is taken back if one is refused. */
  #decideAll(commands: readonly Command[], mark: number): unknown[] {
    const { rows } = this.#p;
    rows.begin();
    try {
      const replies = commands.map((c, i) => {
        if (this.#note !== null) this.#note.step = c.step ?? i;
        return this.#views.of(c).decide(c, this.#moment, this.#emit);
      });
      rows.commit();
      return replies;
    } catch (error) {
      rows.rollback();
      this.#open.writer.length = mark;
      throw error;
    }
  }

  readonly #emit = (event: Event, step = 0): void => {
    this.#note?.steps.push(this.#note.step + step);
    const view = this.#views.ofEvent(event);
    const { writer } = this.#open;
    const from = writer.length;
    writer.u8(event.type);
    view.encode(event, writer);
    if (writer.length > this.#endBytes) {
      writer.length = from;
      throw tooLarge();
    }
    view.evolve(event, this.#moment);
  };

  /** When what the reply shows is durable. */
  #answer(pending: Pending, error: FlowError | null, reply: unknown, open: Batch): void {
    const batch = this.#timeShown(this.#shownMs) ?? this.#newestShown(pending, open);
    if (batch === null) pending.done(error, reply);
    else batch.wait(pending.done, error, reply);
    if (batch !== null && pending.commands[0]?.patient !== true) batch.isUrgent = true;
  }

  /** Row-only views know the batch of what they read (newestRead), others read cells, too. */
  #newestShown({ commands }: Pending, open: Batch): Batch | null {
    const { newestRead } = this.#p.rows;
    const rowsOnly = open === this.#open && commands.every((c) => this.#views.of(c).readsOnlyRows === true);
    const isOlder = rowsOnly && newestRead < open.seq && !commands.some((c) => c.mutates);
    if (!open.isEmpty && !isOlder) return open;
    const inFlight = this.#inFlight;
    return inFlight !== null && (!rowsOnly || newestRead >= inFlight.seq) ? inFlight : null;
  }

  /** The open batch, kept from staying empty, if no entry before it says that this time has come. */
  #timeShown(timeMs: number): Batch | null {
    if (timeMs <= this.#durable.timeMs) return null;
    const batch = this.#open;
    if (batch.isEmpty) batch.timeMs = this.nowMs();
    batch.holdsTime = batch.isUrgent = true;
    this.#armFlush();
    return batch;
  }

  #newestUnsettled(): Batch | null {
    if (this.#open.isEmpty) return this.#inFlight;
    this.#open.isUrgent = true;
    this.#armFlush();
    return this.#open;
  }

  #armFlush(): void {
    if (this.#isFlushArmed || this.#inFlight !== null || this.#failure !== null) return;
    this.#isFlushArmed = true;
    this.#p.runtime.soon(() => {
      this.#isFlushArmed = false;
      this.#flush();
    });
  }

  /** Seals the open batch and sends it to the journal, unless one is on its way. */
  #flush(): void {
    if (this.#inFlight !== null || this.#failure !== null) return;
    this.#tick();
    const batch = this.#open;
    if (batch.mayWaitUntilMs > this.nowMs()) {
      if (batch.isEmpty && batch.hasWaiters) batch.complete();
      this.#timer.arm(Math.min(this.#views.wakeAtMs(), batch.mayWaitUntilMs), () => this.nowMs());
      if (this.#inbox.size > 0) this.#pump();
      return;
    }
    const next = this.#spare;
    next.reset(batch.seq + 1);
    this.#open = next;
    this.#p.rows.openBatch = next.seq;
    this.#inFlight = batch;
    this.#append(batch);
    this.#p.afterSeal(batch.seq, batch.timeMs, batch.writer.length);
    this.#pump();
  }

  #append(batch: Batch): void {
    const frame = { timeMs: batch.timeMs, payload: [batch.writer.view()] };
    this.#p.journal.append(frame, { expect: batch.seq, fence: this.#p.fence }).then(
      () => this.#onDurable(batch),
      (error) => {
        if (!(error instanceof JournalFull)) return this.#onFailed(batch, error);
        // Not even the reserve has room: nothing was written, so everybody waits until there is.
        this.#p.runtime.after(FULL_RETRY_MS, () => this.#append(batch));
      },
    );
  }

  #onDurable(batch: Batch): void {
    this.#durable = { seq: batch.seq, timeMs: batch.timeMs };
    this.#inFlight = null;
    this.#spare = batch;
    batch.complete();
    this.timeline.tell(batch.seq, batch.timeMs, batch.writer.view());
    if (!this.#open.isEmpty) this.#flush();
    else this.#armFlush();
    this.#pump();
  }

  #onFailed(batch: Batch, cause: unknown): void {
    const error = new FlowError(
      'UNAVAILABLE',
      'the journal failed: the outcome is unknown, ask again after the restart',
      { cause },
    );
    batch.fail(error);
    this.#die(error);
  }

  #die(error: FlowError): void {
    this.#failure = error;
    this.#open.fail(error);
    this.#inbox.refuseAll(error);
    this.#timer.cancel();
  }

  #tick(): void {
    this.#isInTick = true;
    const batch = this.#open;
    if (batch.isEmpty) batch.timeMs = this.nowMs();
    this.#moment = { nowMs: batch.timeMs, position: batch.seq };
    const softEndBytes = batch.writer.length + TICK_BYTES;
    this.#endBytes = softEndBytes + TICK_EVENT_BYTES_MAX;
    const hasRoom = () => batch.writer.length < softEndBytes;
    for (const view of this.#views.all) view.tick?.(this.#moment, this.#emitThen, hasRoom);
    this.#isInTick = false;
  }

  readonly #emitThen = (event: Event, then?: () => void): void => {
    this.#emit(event);
    this.#open.isUrgent = true;
    if (then !== undefined) this.#open.afterDurable(then);
  };
}
