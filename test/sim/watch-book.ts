// What the only writer of each key did, and what watchers were shown of it.
//   B1. Behind a cursor a watcher sees each change once, in order, with its reason, whatever cuts it off.
//   B2. After HISTORY_TRIMMED some are missing; from the next value on B1 holds again.
import type { Sim } from './sim.ts';

interface Change {
  readonly reason: string;
  readonly value: string;
  readonly revision: number;
  /** It may have happened: an expiry that nobody looked at. */
  isSure: boolean;
}

/** Values of a writer that has come to its end. */
export const LAST = 'last ';

interface Seen {
  readonly changes: (Pick<Change, 'reason' | 'value' | 'revision'> | 'gap')[];
  newest: number;
  position: number;
  hasLast: boolean;
}

export class WatchBook {
  readonly #sim: Sim;
  readonly #done = new Map<string, Change[]>();
  readonly #seen = new Map<string, Map<string, Seen>>();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  watch(watcher: string, keys: readonly string[]): void {
    this.#seen.set(
      watcher,
      new Map(keys.map((key) => [key, { changes: ['gap'], newest: 0, position: 0, hasLast: false }])),
    );
  }

  #of(key: string): Change[] {
    const changes = this.#done.get(key) ?? [];
    this.#done.set(key, changes);
    return changes;
  }

  wrote(key: string, value: string, revision: number, hasTtl: boolean): void {
    this.#of(key).push({ reason: 'set', value, revision, isSure: true });
    if (hasTtl) this.#of(key).push({ reason: 'expire', value: '', revision: 0, isSure: false });
  }

  /** Whether the key was there, as the answer told. */
  found(key: string, isThere: boolean): void {
    const last = this.#of(key).at(-1);
    if (last?.reason !== 'expire' || last.isSure) return;
    if (!isThere) last.isSure = true;
  }

  deleted(key: string, isThere: boolean): void {
    this.found(key, isThere);
    if (!isThere) return;
    const changes = this.#of(key);
    if (changes.at(-1)?.isSure === false) changes.pop();
    changes.push({ reason: 'delete', value: '', revision: 0, isSure: true });
  }

  /** `position`: of its entry; several changes may share one. */
  saw(
    watcher: string,
    key: string,
    change: Pick<Change, 'reason' | 'value' | 'revision'>,
    position: number,
  ): void {
    const seen = this.#seen.get(watcher)?.get(key);
    const what = () => `${watcher}, key ${key}: ${JSON.stringify(change)}`;
    this.#sim.expect(seen !== undefined, 'a watch shows what it selects', what);
    if (seen === undefined) return;
    const order = () => `${what()} after revision ${seen.newest}`;
    // A key that is gone has no revision.
    const isNewer = change.revision === 0 || change.revision > seen.newest;
    const isInOrder = isNewer && position >= seen.position;
    this.#sim.expect(isInOrder, 'a watch shows each change once, in order', order);
    seen.newest = Math.max(seen.newest, change.revision);
    seen.position = position;
    seen.changes.push(change);
    if (change.value.startsWith(LAST)) seen.hasLast = true;
  }

  gap(watcher: string): void {
    for (const seen of this.#seen.get(watcher)?.values() ?? []) seen.changes.push('gap');
  }

  hasSeenLast(watcher: string): boolean {
    return [...(this.#seen.get(watcher)?.values() ?? [])].every(({ hasLast }) => hasLast);
  }

  /** Everybody who watches the key has seen that its writer is at its end. */
  isAllSeen(key: string): boolean {
    return [...this.#seen.values()].every((keys) => keys.get(key)?.hasLast ?? true);
  }

  check(): void {
    for (const [watcher, keys] of this.#seen) {
      for (const [key, seen] of keys) this.#checkKey(watcher, key, seen);
    }
  }

  #checkKey(watcher: string, key: string, { changes }: Seen): void {
    const done = this.#of(key);
    let at = 0;
    let isAnchored = false;
    for (const change of changes) {
      if (change === 'gap') {
        isAnchored = false;
        continue;
      }
      if (!isAnchored && change.reason !== 'set') continue;
      const { reason, value, revision } = change;
      const isIt = (other: Change) =>
        other.reason === reason &&
        (reason !== 'set' || (other.value === value && other.revision === revision));
      let next = at;
      while (next < done.length && !isIt(done[next] as Change)) next++;
      const skipped = done.slice(at, next).filter(({ isSure }) => isSure);
      const how = () =>
        `${watcher}, key ${key}: ${JSON.stringify(change)} while ${JSON.stringify(skipped[0])} had to come`;
      this.#sim.expect(next < done.length, 'a watch shows only what was done', how);
      this.#sim.expect(!isAnchored || skipped.length === 0, 'a watch shows every change', how);
      isAnchored = true;
      at = next + 1;
    }
    if (!isAnchored) return;
    // What came after its last value need not have reached it.
    const isOver = changes.some((each) => each !== 'gap' && each.value.startsWith(LAST));
    const left = done.slice(at).find(({ isSure, value }) => isSure && !value.startsWith(LAST));
    const missing = () => `${watcher}, key ${key}: ${JSON.stringify(left)} never came`;
    this.#sim.expect(!isOver || left === undefined, 'a watch shows every change', missing);
  }
}
