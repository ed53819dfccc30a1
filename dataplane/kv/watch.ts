// One client that watches keys: every durable change of the selected keys, live from the shards, or from
// their history.
//   V1. Changes of a shard are sent in journal order, each once; the cursor of a change stands behind it and
//       behind everything sent before it.
//   V2. At most PENDING_BYTES_MAX and one entry wait for a client that does not read. Beyond that its shards
//       fall behind and are read again from the history: only who is slower than its window loses the watch,
//       with HISTORY_TRIMMED.
//   V3. While the client does not read, no file is held open for it.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { WatchSession } from '../services.ts';
import type { LiveEntry } from '../shard/history.ts';
import type { Event, ShardPort } from '../shard/state-machine.ts';
import { changedKey, changesOf, type Selection, selects, sizeOfChange } from './changes.ts';
import { type Mark, type PlaceInHistory, writeMark } from './marks.ts';

const PENDING_BYTES_MAX = 1024 * 1024;
const MESSAGE_BYTES = 256 * 1024;
const MESSAGE_CHANGES = 500;
/** Entries without a change for the client after which it is told where it stands. */
const QUIET_ENTRIES = 10_000;

export interface WatchParts {
  readonly shards: readonly ShardPort[];
  readonly selection: Selection;
  readonly from: Mark;
  /** False: the connection is congested; `resume` follows. */
  readonly send: (message: pb.KvWatchResponseInput) => boolean;
  readonly fail: (error: FlowError) => void;
  readonly onClose: () => void;
}

export class Watch implements WatchSession {
  readonly #p: WatchParts;
  readonly #feeds: Feed[];
  readonly #places: PlaceInHistory[];
  #timeMs: number;
  #pending: pb.KvChangeInput[] = [];
  #pendingBytes = 0;
  #quiet = 0;
  #isCongested = false;
  #isClosed = false;

  constructor(parts: WatchParts) {
    this.#p = parts;
    this.#timeMs = parts.from.timeMs;
    this.#places = [...parts.from.places];
    this.#feeds = parts.shards.map((shard, i) => new Feed(this, shard, i, parts.selection));
  }

  start(): void {
    this.#send([]);
    for (const feed of this.#feeds) feed.start();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Nothing more is to be read for it now. */
  get isFull(): boolean {
    return this.#isClosed || (this.#isCongested && this.#pendingBytes >= PENDING_BYTES_MAX);
  }

  get isCongested(): boolean {
    return this.#isClosed || this.#isCongested;
  }

  placeOf(index: number): PlaceInHistory {
    return this.#places[index] as PlaceInHistory;
  }

  moveTo(index: number, place: PlaceInHistory, timeMs: number): void {
    this.#places[index] = place;
    if (timeMs > this.#timeMs) this.#timeMs = timeMs;
  }

  push(index: number, { position, events }: PlaceInHistory, changes: readonly pb.KvChangeInput[]): void {
    const shard = this.#p.shards[index]?.id ?? 0;
    for (const [i, change] of changes.entries()) {
      // Who comes back behind the first of two changes of one event gets both again rather than none.
      const isLast = i === changes.length - 1;
      const places = isLast ? this.#places : this.#places.with(index, { position, events: events - 1 });
      const record = { ...change, shard, position, cursor: writeMark(this.#timeMs, places) };
      this.#pending.push(record);
      this.#pendingBytes += sizeOfChange(record);
    }
    if (this.#pendingBytes >= MESSAGE_BYTES || this.#pending.length >= MESSAGE_CHANGES) this.flush();
  }

  /** An entry is through. */
  passed(): void {
    if (this.#pending.length === 0 && ++this.#quiet >= QUIET_ENTRIES && !this.#isCongested) this.#send([]);
  }

  /** Sends what is waiting, in messages of about MESSAGE_BYTES: one change may have 3 MiB. */
  flush(): void {
    let sent = 0;
    while (sent < this.#pending.length && !this.isCongested) {
      let end = sent;
      let bytes = 0;
      while (end < this.#pending.length && end - sent < MESSAGE_CHANGES && bytes < MESSAGE_BYTES) {
        bytes += sizeOfChange(this.#pending[end++] as pb.KvChangeInput);
      }
      const changes = this.#pending.slice(sent, end);
      sent = end;
      this.#pendingBytes -= bytes;
      this.#send(changes);
    }
    if (sent > 0) this.#pending = this.#pending.slice(sent);
  }

  #send(changes: pb.KvChangeInput[]): void {
    this.#quiet = 0;
    const cursor = changes.at(-1)?.cursor ?? writeMark(this.#timeMs, this.#places);
    this.#isCongested = !this.#p.send({ changes, cursor });
  }

  resume(): void {
    if (this.#isClosed) return;
    this.#isCongested = false;
    this.flush();
    for (const feed of this.#feeds) feed.catchUp();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const feed of this.#feeds) feed.close();
    this.#pending = [];
    this.#p.onClose();
  }

  end(error: FlowError): void {
    if (this.#isClosed) return;
    this.close();
    this.#p.fail(error);
  }
}

/** One shard of a watch. */
class Feed {
  readonly #watch: Watch;
  readonly #shard: ShardPort;
  readonly #index: number;
  readonly #selection: Selection;
  #isLive = false;
  #isReading = false;
  #unfollow = () => {};

  constructor(watch: Watch, shard: ShardPort, index: number, selection: Selection) {
    this.#watch = watch;
    this.#shard = shard;
    this.#index = index;
    this.#selection = selection;
  }

  start(): void {
    this.#unfollow = this.#shard.timeline.follow('kv', (entry) => this.#onLive(entry));
    this.catchUp();
  }

  close(): void {
    this.#isLive = false;
    this.#unfollow();
  }

  #onLive({ position, timeMs, events }: LiveEntry): void {
    const watch = this.#watch;
    if (!this.#isLive || position < watch.placeOf(this.#index).position) return;
    if (watch.isFull) {
      this.#isLive = false; // V2: `resume` reads on from the history.
      return;
    }
    for (let i = 0; i < events.length; i++)
      this.#take(events[i] as Event, { position, events: i + 1 }, timeMs);
    watch.moveTo(this.#index, { position: position + 1, events: 0 }, timeMs);
    watch.passed();
    watch.flush();
  }

  /** Reads the history until it has come to the end of it, or the client is congested. */
  catchUp(): void {
    if (this.#isLive || this.#isReading || this.#watch.isCongested) return;
    this.#isReading = true;
    this.#read().then(
      () => {
        this.#isReading = false;
        // Resumed in the very moment in which it stopped.
        if (!this.#isLive && !this.#watch.isCongested) this.catchUp();
      },
      (error: unknown) => {
        this.#isReading = false;
        this.#watch.end(asRefusal(error, this.#shard));
      },
    );
  }

  async #read(): Promise<void> {
    const watch = this.#watch;
    while (!watch.isCongested) {
      const { position } = watch.placeOf(this.#index);
      const { first, next } = this.#shard.timeline.window;
      if (position >= next) {
        this.#isLive = true;
        return;
      }
      if (position < first) throw trimmed(this.#shard);
      if (await this.#readTo(position, next)) watch.moveTo(this.#index, { position: next, events: 0 }, 0);
      watch.flush();
    }
  }

  /** False: stopped on the way. */
  async #readTo(from: number, next: number): Promise<boolean> {
    const watch = this.#watch;
    const start = watch.placeOf(this.#index);
    let entry = from;
    let events = 0;
    for await (const { position, timeMs, event } of this.#shard.history(ALL, from)) {
      if (position >= next) return true; // What came meanwhile has its turn in the next round.
      if (position !== entry) {
        watch.passed();
        entry = position;
        events = 0;
      }
      events++;
      if (position === start.position && events <= start.events) continue;
      this.#take(event, { position, events }, timeMs);
      if (watch.isCongested) return false;
    }
    return true;
  }

  #take(event: Event, place: PlaceInHistory, timeMs: number): void {
    const key = changedKey(event);
    this.#watch.moveTo(this.#index, place, timeMs);
    if (key === undefined || !selects(this.#selection, key)) return;
    this.#watch.push(this.#index, place, changesOf(event, this.#selection, timeMs));
  }
}

const ALL = { view: 'kv', matches: () => true };

export const trimmed = ({ id, timeline }: ShardPort): FlowError =>
  new FlowError(
    'HISTORY_TRIMMED',
    `the history of shard ${id} begins at position ${timeline.window.first}; read what is there, then watch`,
  );

const asRefusal = (error: unknown, shard: ShardPort): FlowError => {
  if (!(error instanceof FlowError)) {
    return new FlowError('INTERNAL', 'reading the history failed', { cause: error });
  }
  return error.code === 'HISTORY_TRIMMED' ? trimmed(shard) : error;
};
