// The change feed of declarations: what became of queues, schemas and streams, whoever changed them.
// Level-triggered: it tells that something is not as it was, and what it is now; changes that come close
// together are one.
//   F1. Nothing is told before it is durable.
//   F2. A token is, for each shard, the position up to which everything has been told. From one, nothing
//       is missed: what exists carries the position of its last change, and deletions are remembered by
//       name, the last DELETIONS_MAX of each shard. A token that needs more than that is refused with
//       HISTORY_TRIMMED.
//   F3. A watcher that does not read costs nothing: it is told nothing, and catches up from its token.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { WatchSession } from '../services.ts';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import type { ChangeOf, Declared, DeclaredThings } from './declared.ts';
import { ownershipMessage } from './ownership.ts';
import { readToken, writeToken } from './token.ts';

const WATCHES_MAX = 1000;
const DELETIONS_MAX = 10_000;
/** Changes in one message. */
const MESSAGE_MAX = 500;
const KINDS = ['queue', 'schema', 'stream'];

interface Note {
  readonly kind: string;
  readonly tenant: number;
  readonly name: string;
  readonly position: number;
  change: ChangeOf;
}

/** One shard as the feed sees it. */
interface Source {
  readonly shard: ShardPort;
  readonly things: readonly DeclaredThings[];
  /** Decided, not told yet, in order. */
  readonly waiting: Note[];
  readonly deletions: Note[];
  /** Deletions up to here are not remembered. */
  forgottenTo: number;
}

export interface FeedParts {
  readonly shards: readonly ShardPort[];
  /** By shard. */
  readonly things: readonly (readonly DeclaredThings[])[];
  /** Whose positions these are: tokens of other data are refused. */
  readonly origin: string;
}

type Send = (message: pb.WatchAdminResponseInput) => boolean;
type Fail = (error: FlowError) => void;

export class AdminFeed {
  readonly #origin: string;
  readonly #sources: readonly Source[];
  readonly #watches = new Set<AdminWatch>();
  #isSettling = false;

  constructor({ shards, things, origin }: FeedParts) {
    this.#origin = origin;
    this.#sources = shards.map((shard, i) => {
      const own = things[i] ?? [];
      const forgottenTo = Math.max(0, ...own.map(({ deletedAt }) => deletedAt));
      const source: Source = { shard, things: own, waiting: [], deletions: [], forgottenTo };
      for (const each of own) {
        each.follow((change, tenant, name, position) => {
          this.#note(source, { kind: each.kind, tenant, name, position, change });
        });
      }
      return source;
    });
  }

  async open(caller: Caller, request: pb.WatchAdminRequest, send: Send, fail: Fail): Promise<WatchSession> {
    const unknown = request.kinds.find((kind) => !KINDS.includes(kind));
    if (unknown !== undefined)
      throw new FlowError('INVALID_ARGUMENT', `kinds are ${KINDS.join(', ')}, not ${unknown}`);
    if (this.#watches.size >= WATCHES_MAX) {
      const message = `${WATCHES_MAX} watches are open; close some`;
      throw new FlowError('RESOURCE_EXHAUSTED', message, { retryAfterMs: 1000 });
    }
    const kinds = new Set(request.kinds.length > 0 ? request.kinds : KINDS);
    const positions = this.#beginning(request.resumeToken);
    const watch = new AdminWatch({
      ...{ tenant: caller.tenant, kinds, positions, send, fail },
      token: () => writeToken(this.#origin, positions),
      missed: () => this.#missed(caller.tenant, positions),
      onClose: () => void this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    watch.start();
    return watch;
  }

  #beginning(token: string): number[] {
    const now = this.#sources.map(durableOf);
    if (token === '') return now;
    const positions = readToken(token, this.#origin, now.length);
    for (const [i, { forgottenTo }] of this.#sources.entries()) {
      const position = positions[i] ?? 0;
      if (position < forgottenTo || position > (now[i] ?? 0)) throw trimmed();
    }
    return positions;
  }

  #note(source: Source, note: Note): void {
    source.waiting.push(note);
    if (note.change === 'deleted') {
      source.deletions.push(note);
      if (source.deletions.length > DELETIONS_MAX)
        source.forgottenTo = source.deletions.shift()?.position ?? source.forgottenTo;
    }
    if (this.#isSettling) return;
    this.#isSettling = true;
    // Not before this turn is over: what is decided in it is evolved and may be told at once.
    queueMicrotask(() => void this.#tell());
  }

  async #tell(): Promise<void> {
    try {
      while (this.#sources.some(({ waiting }) => waiting.length > 0)) {
        await Promise.all(this.#sources.map(({ shard }) => shard.settled()));
        this.#sources.forEach((source, i) => {
          const durable = durableOf(source);
          const count = source.waiting.findIndex(({ position }) => position > durable);
          const notes = source.waiting.splice(0, count < 0 ? source.waiting.length : count);
          const last = notes.at(-1);
          if (last === undefined) return;
          const changes = changesOf(source, notes, durable);
          for (const watch of [...this.#watches]) watch.tell(i, last.position, changes);
        });
      }
    } catch {
      // The shard has failed, and the process ends.
    } finally {
      this.#isSettling = false;
    }
  }

  /** What became of everything that has changed since; undefined: it is not known any more. */
  #missed(tenant: number, positions: number[]): Told[] | undefined {
    if (this.#sources.some(({ forgottenTo }, i) => (positions[i] ?? 0) < forgottenTo)) return undefined;
    const missed = this.#sources.flatMap((source, i) => {
      const from = positions[i] ?? 0;
      const to = durableOf(source);
      positions[i] = Math.max(from, to);
      const notes: Note[] = source.deletions.filter(({ position }) => position > from && position <= to);
      for (const { kind, all } of source.things) {
        for (const { name, bornAt, changedAt: position } of all(tenant)) {
          const change = bornAt > from ? 'declared' : 'changed';
          if (position > from && position <= to) notes.push({ kind, tenant, name, position, change });
        }
      }
      return changesOf(source, notes, to);
    });
    return missed;
  }
}

const durableOf = ({ shard }: Source): number => shard.timeline.window.next - 1;

/** A change as it is told, and to whom. */
interface Told {
  readonly tenant: number;
  readonly change: pb.AdminChangeInput;
}

/**
 * One for each thing: what it is now, and whether it is new to who has not seen these notes. What has changed
 * again is left to its next note, which is not durable yet (F1).
 */
function changesOf({ things, waiting }: Source, notes: readonly Note[], durable: number): Told[] {
  const later = new Map<string, Note>();
  for (const note of waiting)
    if (note.position > durable && !later.has(keyOf(note))) later.set(keyOf(note), note);
  const last = new Map<string, { note: Note; isNew: boolean }>();
  for (const note of notes) {
    const key = keyOf(note);
    const before = last.get(key);
    last.delete(key);
    last.set(key, { note, isNew: note.change === 'declared' || before?.isNew === true });
  }
  return [...last].flatMap(([key, { note, isNew }]) => {
    const { tenant, kind, name } = note;
    const next = later.get(key);
    if (next !== undefined) {
      if (isNew && next.change === 'changed') next.change = 'declared';
      return [];
    }
    const thing = things.find((each) => each.kind === kind)?.find(tenant, name);
    const change = thing === undefined ? 'deleted' : isNew ? 'declared' : 'changed';
    return [{ tenant, change: { change, kind, name, ...shownOf(thing) } }];
  });
}

const keyOf = ({ tenant, kind, name }: Note): string => `${tenant} ${kind} ${name}`;

const shownOf = (thing: Declared | undefined) => ownershipMessage(thing?.ownership ?? null);

const trimmed = () =>
  new FlowError(
    'HISTORY_TRIMMED',
    'what became of declarations since this token is not known any more: list them, and watch anew',
  );

interface WatchParts {
  readonly tenant: number;
  readonly kinds: ReadonlySet<string>;
  /** By shard: up to where this watch has been told. */
  readonly positions: number[];
  readonly send: Send;
  readonly fail: Fail;
  readonly token: () => string;
  readonly missed: () => Told[] | undefined;
  readonly onClose: () => void;
}

class AdminWatch implements WatchSession {
  readonly #p: WatchParts;
  #isOpen = true;
  /** The connection has no room: what comes is caught up later (F3). */
  #isBehind = false;

  constructor(parts: WatchParts) {
    this.#p = parts;
  }

  start(): void {
    this.#p.send({ resumeToken: this.#p.token() });
    this.#catchUp();
  }

  tell(shard: number, position: number, changes: readonly Told[]): void {
    const { positions } = this.#p;
    if (this.#isBehind || position <= (positions[shard] ?? 0)) return;
    positions[shard] = position;
    this.#send(changes);
  }

  resume(): void {
    if (this.#isOpen && this.#isBehind) this.#catchUp();
  }

  close(): void {
    this.#isOpen = false;
    this.#p.onClose();
  }

  #catchUp(): void {
    this.#isBehind = false;
    const missed = this.#p.missed();
    if (missed === undefined) {
      this.close();
      this.#p.fail(trimmed());
    } else this.#send(missed);
  }

  #send(told: readonly Told[]): void {
    const { tenant, kinds, send, token } = this.#p;
    const mine = told.filter((each) => each.tenant === tenant && kinds.has(each.change.kind ?? ''));
    for (let at = 0; at < mine.length; at += MESSAGE_MAX) {
      const changes = mine.slice(at, at + MESSAGE_MAX).map(({ change }) => change);
      // Only the last message of a batch is behind all of it.
      const isLast = at + MESSAGE_MAX >= mine.length;
      if (!send({ changes, resumeToken: isLast ? token() : '' })) this.#isBehind = true;
    }
  }
}
