// The objects of one kind as they were last seen, with indexes, and who wants to hear of changes.
//   S1. A handler hears of every change once, in order, with what was there before; it cannot break the
//       cache.
//   S2. What is known is never replaced by an older version of itself, except by a list: that is the truth
//       even where versions went back (an etcd restored from a backup).
//   S3. Objects are shared: whoever reads them changes nothing.
import { isNewer, type Key, type KubeObject, keyOf } from './objects.ts';

export type Change<T> =
  | { readonly kind: 'added'; readonly key: Key; readonly object: T }
  | { readonly kind: 'updated'; readonly key: Key; readonly object: T; readonly before: T }
  | { readonly kind: 'deleted'; readonly key: Key; readonly object: T };

export type ChangeHandler<T> = (change: Change<T>) => void;
export type IndexFunction<T> = (object: T) => readonly string[];

export interface CacheOptions<T> {
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
  readonly onHandlerError: (error: unknown, key: Key) => void;
}

export class ObjectCache<T extends KubeObject> {
  readonly #objects = new Map<Key, T>();
  readonly #indexes = new Map<string, { of: IndexFunction<T>; keys: Map<string, Set<Key>> }>();
  readonly #handlers = new Set<ChangeHandler<T>>();
  readonly #onHandlerError: CacheOptions<T>['onHandlerError'];

  constructor({ indexes = {}, onHandlerError }: CacheOptions<T>) {
    this.#onHandlerError = onHandlerError;
    for (const [name, of] of Object.entries(indexes)) this.#indexes.set(name, { of, keys: new Map() });
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: Key): T | undefined {
    return this.#objects.get(key);
  }

  keys(): IterableIterator<Key> {
    return this.#objects.keys();
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  byIndex(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new Error(`there is no index ${name}`);
    const keys = index.keys.get(value) ?? [];
    return [...keys].map((key) => this.#objects.get(key)).filter((object) => object !== undefined);
  }

  /** From the answer to a write. The watch may have said already that it is gone: nothing is added. */
  update(object: T): void {
    if (this.#objects.get(keyOf(object.metadata))?.metadata.uid === object.metadata.uid) this.put(object);
  }

  /** From a watch. */
  put(object: T): void {
    const before = this.#objects.get(keyOf(object.metadata));
    const [now, then] = [object.metadata, before?.metadata];
    const same = then !== undefined && then.uid === now.uid;
    if (same && !isNewer(now.resourceVersion, then.resourceVersion)) return;
    this.#set(object, before);
  }

  /** From a list (S2). */
  putListed(object: T): void {
    const before = this.#objects.get(keyOf(object.metadata));
    const [now, then] = [object.metadata, before?.metadata];
    if (then?.uid === now.uid && then?.resourceVersion === now.resourceVersion) return;
    this.#set(object, before);
  }

  /** `last` is its last state, if known: handlers see why it went. */
  remove(key: Key, last?: T): void {
    const known = this.#objects.get(key);
    if (known === undefined) return;
    this.#objects.delete(key);
    this.#reindex(key, known, undefined);
    this.#tell({ kind: 'deleted', key, object: last ?? known });
  }

  /** Hears of everything that is there first. Answers how to stop. */
  onChange(handler: ChangeHandler<T>): () => void {
    this.#handlers.add(handler);
    for (const [key, object] of this.#objects) this.#call(handler, { kind: 'added', key, object });
    return () => void this.#handlers.delete(handler);
  }

  #set(object: T, before: T | undefined): void {
    const key = keyOf(object.metadata);
    this.#objects.set(key, object);
    this.#reindex(key, before, object);
    if (before === undefined) this.#tell({ kind: 'added', key, object });
    else this.#tell({ kind: 'updated', key, object, before });
  }

  #reindex(key: Key, before: T | undefined, after: T | undefined): void {
    for (const { of, keys } of this.#indexes.values()) {
      for (const value of before ? of(before) : []) {
        const set = keys.get(value);
        set?.delete(key);
        if (set?.size === 0) keys.delete(value);
      }
      for (const value of after ? of(after) : []) {
        const set = keys.get(value);
        if (set) set.add(key);
        else keys.set(value, new Set([key]));
      }
    }
  }

  #tell(change: Change<T>): void {
    for (const handler of this.#handlers) this.#call(handler, change);
  }

  #call(handler: ChangeHandler<T>, change: Change<T>): void {
    try {
      handler(change);
    } catch (error) {
      this.#onHandlerError(error, change.key);
    }
  }
}
