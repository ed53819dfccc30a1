// What the kv view of one shard keeps beside rows, and how events change both: the revision counter and the
// number of keys of each keyspace.
//   C1. The revision counter only grows. A rolled back transaction leaves a gap; a revision is never given
//       out twice.
//   C2. The count of a keyspace is the number of its META rows, expired ones included until they are swept.
//   C3. Buffers of an event may be views on a request or on the journal: rows own what they keep
//       (Table.own), members are copied here.
import type { Event } from '../shard/state-machine.ts';
import type { Rows } from '../storage/contract.ts';
import { after, fromByteString, part, readPart, readU32be, textToByteString } from '../storage/keys.ts';
import {
  DELETED,
  ELEMENTS_ADDED,
  type ElementsAdded,
  EVICTED,
  EXPIRED,
  EXPIRY_SET,
  FIELDS_PUT,
  type FieldsPut,
  KEYSPACE_DECLARED,
  type KeyGone,
  type KeyPut,
  type KeyspaceDeclared,
  MEMBERS_REMOVED,
  type MembersRemoved,
  SCORES_PUT,
  type ScoresPut,
  STRING_PUT,
  type Swept,
} from './events.ts';
import {
  COUNTER,
  COUNTER_KEY,
  DECLARATION,
  type Declaration,
  ELEMENT,
  EXPIRY,
  expiryKey,
  FIELD,
  GARBAGE,
  garbageKey,
  KEYSPACE,
  type Kind,
  keyspaceEnd,
  META,
  memberPrefix,
  memberTable,
  ORDER,
  orderKey,
  SCORE,
  tablePrefix,
  ZSET,
} from './tables.ts';

const LOAD_PAGE = 1000;
export const DECLARATIONS_MAX = 1000;

interface KeyspaceCell {
  /** KEYSPACE row. */
  readonly rowKey: string;
  readonly tenant: number;
  readonly name: string;
  count: number;
  isDirty: boolean;
  /** Made once per keyspace, so that counting a key in a transaction costs no closure. */
  readonly undoAdd: () => void;
  readonly undoRemove: () => void;
}

export interface KeyspaceCount {
  readonly name: string;
  readonly keys: number;
}

export class KvState {
  readonly #rows: Rows;
  readonly #onTenant: (tenant: number) => void;
  readonly #tenants = new Set<number>();
  /** By what META keys of the keyspace start with. */
  readonly #keyspaces = new Map<string, KeyspaceCell>();
  /** The keyspace counted last, and its prefix: nearly always the next one too. */
  #lastPrefix = '';
  #lastCell: KeyspaceCell | undefined;
  /** By row key. */
  readonly #declarations = new Map<string, Declaration>();
  #revision = 0;
  #flushedRevision = 0;

  constructor(rows: Rows, onTenant: (tenant: number) => void) {
    this.#rows = rows;
    this.#onTenant = onTenant;
  }

  /** Last revision given out. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * Whether a generation began after the last flush: then all its member rows are still in memory, and
   * one that is not resident does not exist.
   */
  isFresh(generation: number): boolean {
    return generation > this.#flushedRevision;
  }

  keyspaces(tenant: number): KeyspaceCount[] {
    const counts: KeyspaceCount[] = [];
    for (const cell of this.#keyspaces.values()) {
      if (cell.tenant === tenant && cell.count > 0) counts.push({ name: cell.name, keys: cell.count });
    }
    return counts;
  }

  async load(): Promise<void> {
    const [counter] = await this.#rows.scan(COUNTER, {
      from: COUNTER_KEY,
      to: after(COUNTER_KEY),
      limit: 1,
    });
    if (counter === undefined) return;
    this.#revision = counter.value.revision;
    this.#flushedRevision = this.#revision;
    for (const tenant of counter.value.tenants) {
      this.#meet(tenant);
      await this.#loadKeyspaces(tenant);
      await this.#loadDeclarations(tenant);
    }
  }

  async #loadDeclarations(tenant: number): Promise<void> {
    const prefix = tablePrefix(tenant, DECLARATION);
    const limit = DECLARATIONS_MAX;
    for (const { key, value } of await this.#rows.scan(DECLARATION, {
      from: prefix,
      to: after(prefix),
      limit,
    }))
      this.#declarations.set(key, value);
  }

  #declare({ tenant, name, isCache, maxBytes, eviction }: KeyspaceDeclared): void {
    this.#meet(tenant);
    const key = tablePrefix(tenant, DECLARATION) + part(textToByteString(name));
    const declaration = { isCache, maxBytes, eviction };
    this.#declarations.set(key, declaration);
    this.#rows.put(DECLARATION, key, declaration);
  }

  declarationOf(tenant: number, name: string): Declaration | undefined {
    return this.#declarations.get(tablePrefix(tenant, DECLARATION) + part(textToByteString(name)));
  }

  declarations(): (Declaration & { tenant: number; name: string })[] {
    return [...this.#declarations].map(([key, declaration]) => ({
      ...declaration,
      tenant: readU32be(key, 0),
      name: fromByteString(readPart(key, 5).bytes).toString(),
    }));
  }

  async #loadKeyspaces(tenant: number): Promise<void> {
    const prefix = tablePrefix(tenant, KEYSPACE);
    let from = prefix;
    for (;;) {
      const rows = await this.#rows.scan(KEYSPACE, { from, to: after(prefix), limit: LOAD_PAGE });
      for (const { key, value } of rows) {
        const cell = this.#addCell(tablePrefix(tenant, META) + key.slice(5));
        cell.count = value;
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < LOAD_PAGE) return;
      from = `${last.key}\0`;
    }
  }

  /** Synchronous, at a checkpoint. */
  flush(): void {
    this.#rows.put(COUNTER, COUNTER_KEY, { revision: this.#revision, tenants: [...this.#tenants] });
    this.#flushedRevision = this.#revision;
    for (const [prefix, cell] of this.#keyspaces) {
      if (cell.isDirty) {
        if (cell.count === 0) this.#rows.del(KEYSPACE, cell.rowKey);
        else this.#rows.put(KEYSPACE, cell.rowKey, cell.count);
        cell.isDirty = false;
      }
      // Empty keyspaces cost nothing: names that come and go would fill the memory.
      if (cell.count === 0) {
        this.#keyspaces.delete(prefix);
        if (cell === this.#lastCell) this.#lastCell = undefined;
      }
    }
  }

  evolve(event: Event): void {
    switch (event.type) {
      case KEYSPACE_DECLARED:
        this.#declare(event as KeyspaceDeclared);
        break;
      case STRING_PUT:
      case EXPIRY_SET:
        this.#put(event as KeyPut);
        break;
      case DELETED:
      case EXPIRED:
      case EVICTED:
        this.#drop(event as KeyGone);
        break;
      case FIELDS_PUT:
        this.#putFields(event as FieldsPut);
        break;
      case ELEMENTS_ADDED:
        this.#addElements(event as ElementsAdded);
        break;
      case SCORES_PUT:
        this.#putScores(event as ScoresPut);
        break;
      case MEMBERS_REMOVED:
        this.#removeMembers(event as MembersRemoved);
        break;
      default:
        this.#sweep(event as Swept);
    }
  }

  #put(event: KeyPut): void {
    const { key, meta } = event;
    this.#rows.put(META, key, meta);
    if (meta.revision > this.#revision) this.#revision = meta.revision;
    if (event.isNew) this.#count(key, 1);
    if (event.beforeExpireAtMs !== meta.expireAtMs || event.staleGeneration !== 0) this.#moveExpiry(event);
  }

  #moveExpiry({ key, meta, beforeExpireAtMs, staleGeneration, staleKind }: KeyPut): void {
    if (beforeExpireAtMs !== 0 && beforeExpireAtMs !== meta.expireAtMs) {
      this.#rows.del(EXPIRY, expiryKey(key, beforeExpireAtMs));
    }
    if (meta.expireAtMs !== 0) {
      const { generation, kind } = meta;
      this.#rows.put(EXPIRY, expiryKey(key, meta.expireAtMs), { generation, kind });
    }
    if (staleGeneration !== 0) this.#discard(key, staleGeneration, staleKind as Kind);
  }

  #drop({ key, expireAtMs, generation, kind }: KeyGone): void {
    this.#rows.del(META, key);
    this.#count(key, -1);
    if (expireAtMs !== 0) this.#rows.del(EXPIRY, expiryKey(key, expireAtMs));
    if (generation !== 0) this.#discard(key, generation, kind);
  }

  /** Leaves the members to the sweeper. */
  #discard(key: string, generation: number, kind: Kind): void {
    this.#rows.put(GARBAGE, garbageKey(key, generation), { kind, cursor: '' });
  }

  #putFields(event: FieldsPut): void {
    this.#put(event);
    const { key, meta, names, values } = event;
    const prefix = memberPrefix(key, FIELD, meta.generation);
    for (let i = 0; i < names.length; i++) {
      const value = values[i];
      if (value !== undefined) this.#rows.put(FIELD, prefix + names[i], Buffer.from(value));
    }
  }

  #addElements(event: ElementsAdded): void {
    this.#put(event);
    const prefix = memberPrefix(event.key, ELEMENT, event.meta.generation);
    for (const name of event.names) this.#rows.put(ELEMENT, prefix + name, true);
  }

  #putScores(event: ScoresPut): void {
    this.#put(event);
    const { key, meta, names, scores, befores } = event;
    const prefix = memberPrefix(key, SCORE, meta.generation);
    const order = memberPrefix(key, ORDER, meta.generation);
    for (let i = 0; i < names.length; i++) {
      const name = names[i] ?? '';
      const score = scores[i] ?? 0;
      const before = befores[i] ?? Number.NaN;
      if (!Number.isNaN(before)) this.#rows.del(ORDER, orderKey(order, before, name));
      this.#rows.put(SCORE, prefix + name, score);
      this.#rows.put(ORDER, orderKey(order, score, name), true);
    }
  }

  #removeMembers(event: MembersRemoved): void {
    const { key, meta } = event;
    if (meta.count > 0) this.#put(event);
    else {
      // Every member goes in this event, so the generation leaves no garbage.
      this.#drop({ type: DELETED, key, expireAtMs: event.beforeExpireAtMs, generation: 0, kind: meta.kind });
      if (meta.revision > this.#revision) this.#revision = meta.revision;
    }
    this.#deleteMembers(event, meta.kind, meta.generation);
  }

  #sweep(event: Swept): void {
    const { key, generation, kind, isDone, names } = event;
    this.#deleteMembers(event, kind, generation);
    const garbage = garbageKey(key, generation);
    if (isDone) this.#rows.del(GARBAGE, garbage);
    else this.#rows.put(GARBAGE, garbage, { kind, cursor: names.at(-1) ?? '' });
  }

  #deleteMembers({ key, names, scores }: MembersRemoved | Swept, kind: Kind, generation: number): void {
    const table = memberTable(kind);
    const prefix = memberPrefix(key, table, generation);
    for (const name of names) this.#rows.del(table, prefix + name);
    if (kind !== ZSET) return;
    const order = memberPrefix(key, ORDER, generation);
    for (let i = 0; i < names.length; i++)
      this.#rows.del(ORDER, orderKey(order, scores[i] ?? 0, names[i] ?? ''));
  }

  #count(key: string, change: 1 | -1): void {
    let cell = this.#lastCell;
    if (cell === undefined || !key.startsWith(this.#lastPrefix)) {
      const prefix = key.slice(0, keyspaceEnd(key));
      cell = this.#keyspaces.get(prefix) ?? this.#addCell(prefix);
      this.#lastPrefix = prefix;
      this.#lastCell = cell;
    }
    cell.count += change;
    cell.isDirty = true;
    if (this.#rows.isStaging) this.#rows.onRollback(change === 1 ? cell.undoAdd : cell.undoRemove);
  }

  #addCell(prefix: string): KeyspaceCell {
    const tenant = readU32be(prefix, 0);
    this.#meet(tenant);
    const cell: KeyspaceCell = {
      rowKey: tablePrefix(tenant, KEYSPACE) + prefix.slice(5),
      tenant,
      name: Buffer.from(readPart(prefix, 5).bytes, 'latin1').toString(),
      count: 0,
      isDirty: false,
      undoAdd: () => void cell.count--,
      undoRemove: () => void cell.count++,
    };
    this.#keyspaces.set(prefix, cell);
    return cell;
  }

  #meet(tenant: number): void {
    if (this.#tenants.has(tenant)) return;
    this.#tenants.add(tenant);
    this.#onTenant(tenant);
  }
}
