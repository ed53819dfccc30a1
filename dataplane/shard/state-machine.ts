// What a shard knows of the views: it journals their events, in order, and calls them back. Nothing more.
//
//   M1. `decide` is pure and synchronous; it reads only rows that `reads` named, resident windows and the
//       views' own cells.
//   M2. `evolve` never fails and reads no rows: it writes rows blindly and edits cells (small per-queue,
//       per-partition objects that are always in memory). So recovery needs no fetches.
//   M3. Only events are journaled. `encode` and `decode` are inverse for ever: a new meaning is a new event
//       type.
import type { FlowError } from '@flowmesh/protocol';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Logs, RowRef, Rows, Table } from '../storage/contract.ts';
import type { Follower } from './history.ts';

/** Who asks. Built by each adapter; the tenant comes from the identity, never from the payload. */
export interface Caller {
  readonly identity: string;
  readonly tenant: number;
  /** Set inside a replay sandbox. */
  readonly sandbox?: string;
  readonly traceparent?: string;
  /** Wall-clock deadline, ms; 0: none. */
  readonly deadlineMs: number;
}

/** (producerId, seq) and cause of a mutation; see proto Mutation. */
export interface MutationId {
  readonly producerId: string;
  readonly seq: number;
  readonly cause?: { readonly deliveryId: string; readonly ordinal: number } | undefined;
  /** Only behind this sequence of the producer: what overtakes it is OUT_OF_ORDER. */
  readonly after?: number | undefined;
}

export interface Command {
  /** Which view decides: its `name`. */
  readonly view: string;
  /** What is asked of the view, where it is asked for several things. */
  readonly kind?: string;
  readonly caller: Caller;
  readonly mutation?: MutationId | undefined;
  /** Messages that its records or jobs name as their causes. */
  readonly causes?: readonly string[] | undefined;
  /** Which operation of a transaction it is. */
  readonly step?: number;
  /** Adds data: refused with DISK_FULL while the disk is full. */
  readonly grows?: boolean;
  /**
   * May emit events. Only looked at for views with `readsOnlyRows`: their pure reads wait for nothing they
   * have not seen.
   */
  readonly mutates?: boolean;
  /**
   * Nobody is held up by its reply, so it waits some milliseconds for an entry that others need: one sync
   * for both. What it sets free (a turn, a parent) does not wait.
   */
  readonly patient?: boolean;
}

/** `type` is the event's byte in the journal: the view's range + its own number. */
export interface Event {
  readonly type: number;
}

/** Journals one event of a decision: it is evolved at once, so that what is decided next sees it. */
export type Emit = (event: Event) => void;

/** The same; `step`: of which of the command's operations it is, where it has several. */
export type StepEmit = (event: Event, step?: number) => void;

/** Something to do once the events decided with it are durable. */
export type AfterDurable = () => void;

export interface Moment {
  /** Shard time: monotonic, never goes back. */
  readonly nowMs: number;
  /** Sequence of the journal entry that is being filled or replayed. */
  readonly position: number;
}

/** One of kv, queue, stream, txn, ... on one shard. */
export interface View {
  readonly name: string;
  /** Event types of this view: [first, last]. */
  readonly events: readonly [number, number];
  /** Replies of commands that emit nothing depend on rows alone, never on cells. */
  readonly readsOnlyRows?: boolean;
  /** Reads cells from rows at start (async scans allowed), before replay. */
  load(): Promise<void>;
  /**
   * Rows that decide will read, beyond cells. Only those; may be called again after a fetch (a row may name
   * another).
   */
  reads(command: Command): readonly RowRef[];
  /**
   * Emits what happens and returns the reply. Throws FlowError to refuse, before the first emit. Commands of
   * one shard are decided one at a time, in arrival order.
   */
  decide(command: Command, at: Moment, emit: StepEmit): unknown;
  /** Replies of mutations are kept for repeats of (producerId, seq). */
  encodeReply(reply: unknown): Uint8Array;
  decodeReply(bytes: Uint8Array, command: Command): unknown;
  evolve(event: Event, at: Moment): void;
  encode(event: Event, into: ByteWriter): void;
  /**
   * `from` is at the first byte behind the type. Buffers in the event may be views; evolve copies what it
   * keeps.
   */
  decode(type: number, from: ByteReader): Event;
  /**
   * Called before a batch is sealed and when `wakeAtMs` is due: events of the view's own accord (leases,
   * expiries). Once `hasRoom` says no, the rest is for the next tick, which follows; one event may go beyond
   * by TICK_EVENT_BYTES_MAX.
   */
  tick?(at: Moment, emit: (event: Event, then?: AfterDurable) => void, hasRoom: () => boolean): void;
  /** Shard time at which `tick` must run even if nothing else happens; Infinity: never. */
  wakeAtMs?(): number;
  /** Checkpoint: put every changed cell as a row. Synchronous. */
  flush(): void;
}

/** What a shard hands to each view when it is made. */
export interface ViewContext {
  readonly shard: number;
  readonly shards: number;
  readonly rows: Rows;
  readonly logs: Logs;
  readonly random: () => number;
  /** The wall clock, for what people put on a calendar. It may jump; everything else goes by shard time. */
  readonly wallMs: () => number;
  /** Ask for a `tick` soon: a session came, rows or a chunk became resident. */
  readonly wake: () => void;
  /**
   * What is being decided shows that `timeMs` has come, by something that did not happen in an event. The
   * reply leaves when an entry of that time is durable: time begins there again after a crash.
   */
  readonly showsTime: (timeMs: number) => void;
}

export type ViewFactory = (context: ViewContext) => View;

/** What `peek` answers when a command has to ask. */
export const NOT_NOW: unique symbol = Symbol('not now');

/**
 * How services use a shard. Every answer leaves when what it shows is durable (principle 1 of
 * docs/architecture.md).
 */
export interface ShardPort {
  readonly id: number;
  readonly shards: number;
  /**
   * Decides in arrival order. `done` is called once: with a FlowError, or with the reply when it is durable.
   */
  submit(command: Command, done: (error: FlowError | null, reply: unknown) => void): void;
  /** The same for callers that are not hot. */
  call<R>(command: Command): Promise<R>;
  /** All or nothing: replies of all commands, or the first refusal. One journal entry. */
  transact(commands: readonly Command[], mutation: MutationId | undefined): Promise<unknown[]>;
  /**
   * Resolves when everything decided so far is durable, and that `shownMs` has come: scans, counts and
   * figures await it before they answer.
   */
  settled(shownMs?: number): Promise<void>;
  /** Shard time, ms. */
  nowMs(): number;
  /** Shard time of what would be decided now: never ahead of what is in the open batch. */
  momentMs(): number;
  /** A row that a read may show at once: it is in memory and durable. */
  peek<V>(table: Table<V>, key: string): V | undefined | typeof NOT_NOW;
  /**
   * Entries of the retained journal that touch `subject` (see history.ts), oldest first, from the position
   * `from` on (HISTORY_TRIMMED if that is not retained any more), in front of `to`.
   */
  history(subject: HistorySubject, from?: number, to?: number): AsyncIterable<HistoryEntry>;
  readonly timeline: Timeline;
}

/** What a timeline is asked about: one job, or one key. */
export interface HistorySubject {
  readonly view: string;
  /** Whether an event is about the subject. */
  readonly matches: (event: Event, position: number) => boolean;
}

/** Where the history begins and ends, and what is added to it. */
export interface Timeline {
  /** What of the journal is retained and durable now. */
  readonly window: HistoryWindow;
  /** The first retained position whose time is `timeMs` or later. */
  positionAt(timeMs: number): Promise<number>;
  /** All that these entries hold, in order; those that are not retained any more are left out. */
  entries(positions: readonly number[]): AsyncIterable<WholeEntry>;
  /** All entries from one position to in front of another. */
  range(from: number, to: number): AsyncIterable<WholeEntry>;
  /** Behind all that has happened, durable or not: so many events of the entry at `position`. */
  place(): { readonly position: number; readonly events: number };
  /** Calls `follower` for each entry that becomes durable, until the returned function is called. */
  follow(view: string, follower: Follower): () => void;
}

/** Positions [first, next). */
export interface HistoryWindow {
  readonly first: number;
  readonly next: number;
}

export interface WholeEntry {
  readonly position: number;
  readonly timeMs: number;
  readonly events: readonly { readonly view: View; readonly event: Event }[];
}

export interface HistoryEntry {
  readonly position: number;
  readonly timeMs: number;
  readonly event: Event;
}
