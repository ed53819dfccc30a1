// A shard in small for tests of a view: rows in a Map, a journal in an array, a clock that is set by hand.
// Strict where the real one is: a row that was not named by `reads` cannot be read, rows and events go
// through their codecs.
import assert from 'node:assert/strict';
import { FlowError } from '@flowmesh/protocol';
import type {
  Command,
  Event,
  HistoryEntry,
  HistorySubject,
  Moment,
  MutationId,
  ShardPort,
  Timeline,
  View,
  ViewContext,
} from '../../dataplane/shard/state-machine.ts';
import { NOT_NOW } from '../../dataplane/shard/state-machine.ts';
import { ByteReader, ByteWriter } from '../../dataplane/storage/bytes.ts';
import type { Range, Row, RowRef, Rows, Table, Window } from '../../dataplane/storage/contract.ts';

interface Cell {
  readonly table: Table<never>;
  /** undefined: deleted. */
  readonly value: unknown;
}

export class FakeRows implements Rows {
  /** As of the last checkpoint, encoded. */
  readonly disk = new Map<string, { table: Table<never>; bytes: Buffer }>();
  readonly #memory = new Map<string, Cell>();
  readonly #fetched = new Map<string, unknown>();
  #undo: (() => void)[] | undefined;

  get<V>(_table: Table<V>, key: string): V | undefined {
    const cell = this.#memory.get(key);
    if (cell !== undefined) return cell.value as V | undefined;
    if (!this.#fetched.has(key))
      throw new Error(`not resident: ${Buffer.from(key, 'latin1').toString('hex')}`);
    return this.#fetched.get(key) as V | undefined;
  }

  isResident({ key }: RowRef): boolean {
    return this.#memory.has(key) || this.#fetched.has(key);
  }

  fetch(refs: readonly RowRef[]): Promise<void> {
    this.load(refs);
    return Promise.resolve();
  }

  load(refs: readonly RowRef[]): void {
    for (const { key } of refs) if (!this.#memory.has(key)) this.#fetched.set(key, this.#fromDisk(key));
  }

  #fromDisk(key: string): unknown {
    const stored = this.disk.get(key);
    return stored?.table.decode(new ByteReader(stored.bytes));
  }

  put<V>(table: Table<V>, key: string, given: V): void {
    const value = table.own?.(given) ?? given;
    this.#set(key, { table: table as unknown as Table<never>, value });
  }

  del(table: Table<unknown>, key: string): void {
    this.#set(key, { table: table as unknown as Table<never>, value: undefined });
  }

  #set(key: string, cell: Cell): void {
    const before = this.#memory.get(key);
    this.#undo?.push(() => (before === undefined ? this.#memory.delete(key) : this.#memory.set(key, before)));
    this.#memory.set(key, cell);
  }

  get isStaging(): boolean {
    return this.#undo !== undefined;
  }

  onRollback(revert: () => void): void {
    this.#undo?.push(revert);
  }

  begin(): void {
    this.#undo = [];
  }

  commit(): void {
    this.#undo = undefined;
  }

  rollback(): void {
    const undo = this.#undo ?? [];
    this.#undo = undefined;
    for (const revert of undo.reverse()) revert();
  }

  #all(from: string, to: string): Row<unknown>[] {
    const keys = new Set([...this.disk.keys(), ...this.#memory.keys()]);
    const rows: Row<unknown>[] = [];
    for (const key of [...keys].filter((k) => k >= from && k < to).sort()) {
      const cell = this.#memory.get(key);
      const value = cell === undefined ? this.#fromDisk(key) : cell.value;
      if (value !== undefined) rows.push({ key, value });
    }
    return rows;
  }

  scan<V>(_table: Table<V>, { from, to, limit, reverse }: Range): Promise<Row<V>[]> {
    const rows = this.#all(from, to) as Row<V>[];
    return Promise.resolve((reverse ? rows.reverse() : rows).slice(0, limit));
  }

  window<V>(_table: Table<V>, from: string, to: string): Window<V> {
    let range = { from, to };
    let isStale = true;
    const take = (max: number) =>
      isStale ? [] : (this.#all(range.from, range.to) as Row<V>[]).slice(0, max);
    return {
      from,
      first: () => take(1)[0],
      take,
      at: (index) => take(index + 1)[index],
      firstFrom: (key) => take(Number.MAX_SAFE_INTEGER).find((row) => row.key >= key),
      isWhole: () => !isStale,
      isStale: () => isStale,
      refill: () => {
        isStale = false;
        return Promise.resolve();
      },
      reset: (newFrom, newTo) => {
        range = { from: newFrom, to: newTo };
      },
      close: () => {},
    };
  }

  /** Moves everything to `disk` and forgets what was in memory. */
  checkpoint(): void {
    for (const [key, { table, value }] of this.#memory) {
      if (value === undefined) {
        this.disk.delete(key);
        continue;
      }
      const writer = new ByteWriter();
      table.encode(value as never, writer);
      this.disk.set(key, { table, bytes: writer.copy() });
    }
    this.#memory.clear();
    this.#fetched.clear();
  }

  /** What a checkpoint would hold, readable in a test's diff. */
  dump(): Record<string, string> {
    const copy = new FakeRows();
    for (const [key, stored] of this.disk) copy.disk.set(key, stored);
    for (const [key, cell] of this.#memory) copy.#memory.set(key, cell);
    copy.checkpoint();
    const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex');
    return Object.fromEntries(
      [...copy.disk].sort().map(([key, { bytes }]) => [hex(key), bytes.toString('hex')]),
    );
  }
}

interface Entry {
  readonly position: number;
  readonly timeMs: number;
  readonly bytes: Buffer;
}

export interface Clock {
  nowMs: number;
}

export class FakeShard<V extends View> implements ShardPort {
  readonly id: number;
  readonly shards: number;
  readonly clock: Clock;
  readonly #create: (context: ViewContext) => V;
  rows = new FakeRows();
  view: V;
  /** Behind the last checkpoint. */
  journal: Entry[] = [];
  #position = 0;
  #isWoken = false;
  readonly #replies = new Map<string, Uint8Array>();

  constructor(create: (context: ViewContext) => V, clock: Clock, id = 0, shards = 1) {
    this.#create = create;
    this.clock = clock;
    this.id = id;
    this.shards = shards;
    this.view = this.#makeView();
  }

  #makeView(): V {
    return this.#create({
      shard: this.id,
      shards: this.shards,
      rows: this.rows,
      logs: { open: () => assert.fail('no logs here'), drop: () => assert.fail('no logs here') },
      random: () => 0.5,
      wallMs: () => 0,
      wake: () => {
        this.#isWoken = true;
      },
      showsTime: () => {},
    });
  }

  nowMs(): number {
    return this.clock.nowMs;
  }

  momentMs(): number {
    return this.clock.nowMs;
  }

  peek(): typeof NOT_NOW {
    return NOT_NOW;
  }

  submit(command: Command, done: (error: FlowError | null, reply: unknown) => void): void {
    this.#position++;
    const at = this.#moment();
    const id = command.mutation && `${command.mutation.producerId}/${command.mutation.seq}`;
    const stored = id === undefined ? undefined : this.#replies.get(id);
    if (stored !== undefined) {
      done(null, this.view.decodeReply(stored, command));
      return;
    }
    this.#fetchFor(command);
    const mark = this.journal.length;
    try {
      const reply = this.view.decide(command, at, (event) => this.#apply(event, at));
      if (id !== undefined) this.#replies.set(id, Buffer.from(this.view.encodeReply(reply)));
      done(null, reply);
    } catch (error) {
      assert.equal(this.journal.length, mark, `refused after it had emitted: ${error}`);
      done(
        error instanceof FlowError ? error : new FlowError('INTERNAL', String(error), { cause: error }),
        undefined,
      );
    }
  }

  #fetchFor(command: Command): void {
    for (let turns = 0; ; turns++) {
      const missing = this.view.reads(command).filter((ref) => !this.rows.isResident(ref));
      if (missing.length === 0) return;
      assert.ok(turns < 4, 'reads settles');
      this.rows.load(missing);
    }
  }

  call<R>(command: Command): Promise<R> {
    return new Promise((resolve, reject) => {
      this.submit(command, (error, reply) => (error === null ? resolve(reply as R) : reject(error)));
    });
  }

  async transact(commands: readonly Command[], _mutation: MutationId | undefined): Promise<unknown[]> {
    this.#position++;
    const at = this.#moment();
    for (const command of commands) this.#fetchFor(command);
    const mark = this.journal.length;
    this.rows.begin();
    try {
      const replies = commands.map((c) => this.view.decide(c, at, (event) => this.#apply(event, at)));
      this.rows.commit();
      return replies;
    } catch (error) {
      this.rows.rollback();
      this.journal.length = mark;
      throw error;
    }
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  get timeline(): Timeline {
    return assert.fail('a fake shard keeps no timeline; take a real one');
  }

  async *history({ matches }: HistorySubject): AsyncIterable<HistoryEntry> {
    for (const { position, timeMs, bytes } of this.journal) {
      const event = this.#decode(bytes);
      if (matches(event, position)) yield { position, timeMs, event };
    }
  }

  /** Ticks until nothing is left to do at this time. */
  async idle(): Promise<void> {
    do {
      this.#isWoken = false;
      this.tick();
      await new Promise((resolve) => setImmediate(resolve));
    } while (this.#isWoken || (this.view.wakeAtMs?.() ?? Number.POSITIVE_INFINITY) <= this.clock.nowMs);
  }

  tick(): void {
    this.#position++;
    const at = this.#moment();
    this.view.tick?.(
      at,
      (event) => this.#apply(event, at),
      () => true,
    );
  }

  checkpoint(): void {
    this.view.flush();
    this.rows.checkpoint();
    this.journal = [];
  }

  /** As a crash and a start: what is left is the last checkpoint and the journal. */
  async restart(): Promise<void> {
    const { disk } = this.rows;
    this.rows = new FakeRows();
    for (const [key, stored] of disk) this.rows.disk.set(key, stored);
    this.view = this.#makeView();
    await this.view.load();
    for (const { position, timeMs, bytes } of this.journal) {
      this.view.evolve(this.#decode(bytes), { position, nowMs: timeMs });
    }
  }

  events(): Event[] {
    return this.journal.map(({ bytes }) => this.#decode(bytes));
  }

  #moment(): Moment {
    return { nowMs: this.clock.nowMs, position: this.#position };
  }

  #apply(event: Event, at: Moment): void {
    const writer = new ByteWriter();
    writer.u8(event.type);
    this.view.encode(event, writer);
    this.journal.push({ position: at.position, timeMs: at.nowMs, bytes: writer.copy() });
    this.view.evolve(event, at);
  }

  #decode(bytes: Buffer): Event {
    const reader = new ByteReader(bytes);
    const event = this.view.decode(reader.u8(), reader);
    assert.ok(reader.done, 'an event is read to its end');
    return event;
  }
}
