// What happened on a shard, read from its journal, and told to those who follow it. Writers pay nothing for
// it: there is no index, and while nobody follows, nothing is decoded.
//   H1. Only what is durable is read or told, in journal order.
//   H2. A follower is told of every entry, in the turn in which it became durable. What it is told are views
//       on a buffer that is filled anew afterwards: it copies what it keeps.
import type { Journal } from '../journal/journal.ts';
import { ByteReader } from '../storage/bytes.ts';
import type { Batch } from './batch.ts';
import type {
  Event,
  HistoryEntry,
  HistorySubject,
  HistoryWindow,
  View,
  WholeEntry,
} from './state-machine.ts';
import type { ViewTable } from './view-table.ts';

const JUMP_ENTRIES = 10_000;

export interface LiveEntry {
  readonly position: number;
  readonly timeMs: number;
  /** Those of the view that is followed, in order; often none. */
  readonly events: readonly Event[];
}

export type Follower = (entry: LiveEntry) => void;

export interface HistoryParts {
  readonly journal: Journal;
  readonly views: ViewTable;
  readonly shard: { settled(): Promise<void> };
  /** The entry that is being filled. */
  open(): Pick<Batch, 'seq' | 'writer'>;
}

export class History {
  readonly #p: HistoryParts;
  /** By view. */
  readonly #followers = new Map<string, Set<Follower>>();

  constructor(parts: HistoryParts) {
    this.#p = parts;
  }

  get window(): HistoryWindow {
    const { first, last } = this.#p.journal.tail();
    return { first, next: last + 1 };
  }

  async *read(
    { view, matches }: HistorySubject,
    from?: number,
    to = Number.POSITIVE_INFINITY,
  ): AsyncIterable<HistoryEntry> {
    await this.#p.shard.settled();
    for await (const entry of this.#p.journal.read(from ?? this.window.first)) {
      if (entry.seq >= to) return;
      const reader = new ByteReader(entry.payload);
      while (!reader.done) {
        const { view: owner, event } = this.#p.views.decodeEvent(reader);
        if (owner.name === view && matches(event, entry.seq)) {
          yield { position: entry.seq, timeMs: entry.timeMs, event };
        }
      }
    }
  }

  async *entries(positions: readonly number[]): AsyncIterable<WholeEntry> {
    await this.#p.shard.settled();
    const { first, next } = this.window;
    const asked = positions.filter((position) => position >= first && position < next);
    for (let at = 0; at < asked.length; ) {
      for await (const { seq, timeMs, payload } of this.#p.journal.read(asked[at] as number)) {
        if (seq !== asked[at]) {
          // Far ahead a new reading is cheaper than going through what lies between.
          if ((asked[at] as number) - seq > JUMP_ENTRIES) break;
          continue;
        }
        at++;
        yield { position: seq, timeMs, events: this.#decoded(payload) };
        if (at === asked.length) return;
      }
    }
  }

  /** How far what happened so far goes: entries, and events in the one that is being filled. */
  place(): { readonly position: number; readonly events: number } {
    const { seq, writer } = this.#p.open();
    const reader = new ByteReader(writer.view());
    let events = 0;
    for (; !reader.done; events++) this.#p.views.decodeEvent(reader);
    return { position: seq, events };
  }

  async *range(from: number, to: number): AsyncIterable<WholeEntry> {
    await this.#p.shard.settled();
    for await (const { seq, timeMs, payload } of this.#p.journal.read(from)) {
      if (seq >= to) return;
      yield { position: seq, timeMs, events: this.#decoded(payload) };
    }
  }

  #decoded(payload: Buffer): WholeEntry['events'] {
    const reader = new ByteReader(payload);
    const events: { view: View; event: Event }[] = [];
    while (!reader.done) events.push(this.#p.views.decodeEvent(reader));
    return events;
  }

  /** By bisection: each step reads one entry, of which there are dense sequences. */
  async positionAt(timeMs: number): Promise<number> {
    await this.#p.shard.settled();
    let { first: low, next: high } = this.window;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((await this.#timeOf(middle)) >= timeMs) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  async #timeOf(position: number): Promise<number> {
    for await (const { timeMs } of this.#p.journal.read(position)) return timeMs;
    return Number.POSITIVE_INFINITY;
  }

  follow(view: string, follower: Follower): () => void {
    const followers = this.#followers.get(view) ?? new Set();
    this.#followers.set(view, followers.add(follower));
    return () => {
      followers.delete(follower);
      if (followers.size === 0 && this.#followers.get(view) === followers) this.#followers.delete(view);
    };
  }

  /** An entry is durable. */
  tell(position: number, timeMs: number, payload: Buffer): void {
    if (this.#followers.size === 0) return;
    const events = new Map<string, Event[]>();
    const reader = new ByteReader(payload);
    while (!reader.done) {
      const { view, event } = this.#p.views.decodeEvent(reader);
      const list = events.get(view.name);
      if (list === undefined) events.set(view.name, [event]);
      else list.push(event);
    }
    for (const [view, followers] of this.#followers) {
      const entry = { position, timeMs, events: events.get(view) ?? [] };
      for (const follower of [...followers]) follower(entry);
    }
  }
}
