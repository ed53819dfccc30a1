// Writers of keys that are watched, each the only one of its keys, and watchers that are cut off, slow, and
// come back behind the last change that they saw.
import type { FlowError } from '@flowmesh/protocol';
import {
  KvWatchRequest,
  KvWatchResponse,
  type KvWatchResponseInput,
} from '@flowmesh/protocol/gen/flowmesh.js';
import type { WatchSession } from '../../dataplane/services.ts';
import { KvClient } from './kv-client.ts';
import { Client, caller } from './sim.ts';
import { LAST, type WatchBook } from './watch-book.ts';

const PREFIX = 'w-';
export const WATCH_WRITERS = ['ww0', 'ww1'];
const keysOf = (writer: string): string[] => [`${PREFIX}${writer}-0`, `${PREFIX}${writer}-1`];
const ALL_KEYS = WATCH_WRITERS.flatMap(keysOf);
const [ONE_KEY = ''] = ALL_KEYS;

/** Watchers by name: what they select, and the keys of that. */
export const WATCHERS: Readonly<Record<string, { readonly key?: string; readonly keys: readonly string[] }>> =
  {
    v0: { keys: ALL_KEYS },
    v1: { keys: ALL_KEYS },
    v2: { key: ONE_KEY, keys: [ONE_KEY] },
  };

export class WatchWriter extends KvClient {
  #no = 0;

  async write(book: WatchBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(5, 150);
      await this.#change(book, this.chance.pick(keysOf(this.name)));
    }
    const isOver = () => keysOf(this.name).every((key) => book.isAllSeen(key));
    while (!isOver()) {
      for (const key of keysOf(this.name)) await this.#set(book, key, `${LAST}${this.name}.${++this.#no}`, 0);
      await this.pause(500, 3000);
    }
  }

  async #change(book: WatchBook, name: string): Promise<void> {
    const key = Buffer.from(name);
    const value = `${this.name}.${++this.#no}${'v'.repeat(this.chance.hit(0.1) ? 1500 : 0)}`;
    const what = this.chance.weigh([
      [5, 'set'],
      [3, 'ttl'],
      [2, 'delete'],
      [3, 'get'],
    ]);
    if (what === 'set') return this.#set(book, name, value, 0);
    if (what === 'ttl') return this.#set(book, name, value, this.chance.int(30, 600));
    if (what === 'delete') {
      const deleted = await this.ask(`kv delete ${name}`, { delete: { key } }, this.mutation());
      if (deleted !== null) book.deleted(name, deleted.found);
      return;
    }
    const got = await this.ask(`kv get ${name}`, { get: { key } }, null);
    if (got !== null && (got.error === null || got.error.code === '')) book.found(name, got.found);
  }

  async #set(book: WatchBook, name: string, value: string, ttlMs: number): Promise<void> {
    const set = { key: Buffer.from(name), value: Buffer.from(value), ttlMs };
    const done = await this.ask(`kv set ${name}`, { set }, this.mutation());
    if (done !== null) book.wrote(name, value, done.revision, ttlMs > 0);
  }
}

export class Watcher extends Client {
  #cursor = '';
  #session: WatchSession | null = null;
  /** Why the present connection is over; null: it is not. */
  #end: FlowError | 'cut' | null = null;
  #isNew = true;

  async run(book: WatchBook): Promise<void> {
    book.watch(this.name, WATCHERS[this.name]?.keys ?? []);
    while (!this.sim.isClosing || !book.hasSeenLast(this.name)) {
      await this.#connect(book);
      while (this.#end === null && !(this.sim.isClosing && book.hasSeenLast(this.name))) {
        await this.pause(10, 200);
        if (this.chance.hit(0.05)) this.#end = 'cut';
      }
      this.#session?.close();
      this.#session = null;
      if (this.#end !== null && this.#end !== 'cut' && this.#end.code === 'HISTORY_TRIMMED')
        this.#restart(book);
      await this.pause(1, 100);
      // Some stay away until the history has moved on.
      if (!this.sim.isClosing && this.chance.hit(0.05)) await this.pause(1000, 5000);
    }
  }

  #restart(book: WatchBook): void {
    this.sim.count('watch trimmed');
    this.#cursor = '';
    this.#isNew = true;
    book.gap(this.name);
  }

  async #connect(book: WatchBook): Promise<void> {
    const { key } = WATCHERS[this.name] ?? {};
    const selection = key === undefined ? { prefix: Buffer.from(PREFIX) } : { key: Buffer.from(key) };
    const request = KvWatchRequest.decode(
      KvWatchRequest.encode({ ...selection, cursor: this.#cursor }).finish(),
    );
    const link = { isOver: false };
    this.#end = null;
    const fail = (error: FlowError) => {
      if (link.isOver) return;
      link.isOver = true;
      this.#end = error;
      this.sim.world.note(`${this.name} is told ${error.code}`);
    };
    const outcome = await this.once(`watch ${this.#isNew ? 'new' : 'behind'}`, async (fabric) => {
      this.sim.machine.onGone(() => {
        link.isOver = true;
        this.#end ??= 'cut';
      });
      const send = (message: KvWatchResponseInput) => link.isOver || this.#receive(book, message);
      return fabric.kv.openWatch(caller, request, send, fail);
    });
    if (outcome.kind === 'done') {
      this.#session = { resume: () => outcome.value.resume(), close: () => this.#close(link, outcome.value) };
      return;
    }
    // What it was sent before its answer was lost has arrived.
    link.isOver = true;
    this.#end = outcome.kind === 'refused' ? outcome.error : 'cut';
  }

  #close(link: { isOver: boolean }, session: WatchSession): void {
    link.isOver = true;
    session.close();
  }

  #receive(book: WatchBook, message: KvWatchResponseInput): boolean {
    const { changes, cursor } = KvWatchResponse.decode(KvWatchResponse.encode(message).finish());
    for (const { key, reason, value, revision, position } of changes) {
      this.sim.count(this.#isNew ? 'change seen' : 'change seen behind a cursor');
      this.sim.count(`change ${reason}`);
      this.sim.world.note(`${this.name} sees ${reason} ${key} ${revision}`);
      book.saw(this.name, key.toString(), { reason, value: value.toString(), revision }, position);
    }
    if (cursor !== '') {
      this.#cursor = cursor;
      this.#isNew = false;
    }
    if (!this.chance.hit(0.1)) return true;
    this.sim.world.after(this.chance.int(1, 300), () => this.#session?.resume());
    return false;
  }
}
