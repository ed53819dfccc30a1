// The schemas of one shard in memory, and what each event does to them. Decides nothing. Every shard has all
// schemas: those whose home it is, and copies of the others.
//   T1. Rows are written with each event: schemas are few, and change rarely.
import type { OnChange } from '../admin/declared.ts';
import type { Moment } from '../shard/state-machine.ts';
import type { Rows, Table } from '../storage/contract.ts';
import { after } from '../storage/keys.ts';
import { type Declared, type Deleted, type Owned, SCHEMA_EVENT, type SchemaEvent } from './events.ts';
import * as t from './tables.ts';

const PAGE_ROWS = 1000;

export class SchemaState {
  readonly #rows: Rows;
  readonly tenants = new Map<number, Map<string, t.SchemaRow>>();
  deletedAt = 0;
  /** Told of what becomes of schemas and of copies, durable or not. */
  onChange: OnChange = () => {};

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  async load(): Promise<void> {
    for await (const { value } of this.#scan(t.COUNTERS, t.countersKey())) this.deletedAt = value.deletedAt;
    for await (const { key } of this.#scan(t.TENANTS, t.tenantsPrefix())) {
      const tenant = t.readTenant(key);
      const names = this.#names(tenant);
      for await (const { value } of this.#scan(t.SCHEMAS, t.tablePrefix(tenant, t.SCHEMAS)))
        names.set(value.name, value);
    }
  }

  find(tenant: number, name: string): t.SchemaRow | undefined {
    return this.tenants.get(tenant)?.get(name);
  }

  all(tenant: number): Iterable<t.SchemaRow> {
    return this.tenants.get(tenant)?.values() ?? [];
  }

  evolve(event: SchemaEvent, at: Moment): void {
    if (event.type === SCHEMA_EVENT.declared) this.#declare(event, at);
    else if (event.type === SCHEMA_EVENT.owned) this.#own(event, at);
    else this.#delete(event, at);
  }

  #declare({ tenant, name, uid, createdAtMs, terms }: Declared, at: Moment): void {
    const before = this.find(tenant, name);
    const known = before?.uid === uid ? before : undefined;
    const { compatibility, versions } = terms;
    this.#put(tenant, {
      ...{ name, uid, createdAtMs, compatibility, versions },
      // `owned` follows if this is the owner's declaration.
      ownership: known?.ownership ? { ...known.ownership, isDrifted: true } : null,
      bornAt: known?.bornAt ?? at.position,
      changedAt: at.position,
    });
    this.onChange(known === undefined ? 'declared' : 'changed', tenant, name, at.position);
  }

  #own({ tenant, name, ownership }: Owned, at: Moment): void {
    const known = this.find(tenant, name);
    if (known === undefined) return;
    this.#put(tenant, { ...known, ownership, changedAt: at.position });
    this.onChange('changed', tenant, name, at.position);
  }

  #delete({ tenant, name }: Deleted, at: Moment): void {
    this.#names(tenant).delete(name);
    this.#rows.del(t.SCHEMAS, t.schemaKey(tenant, name));
    this.deletedAt = at.position;
    this.#rows.put(t.COUNTERS, t.countersKey(), { deletedAt: at.position });
    this.onChange('deleted', tenant, name, at.position);
  }

  #put(tenant: number, row: t.SchemaRow): void {
    if (!this.tenants.has(tenant)) this.#rows.put(t.TENANTS, t.tenantKey(tenant), true);
    this.#names(tenant).set(row.name, row);
    this.#rows.put(t.SCHEMAS, t.schemaKey(tenant, row.name), row);
  }

  #names(tenant: number): Map<string, t.SchemaRow> {
    const known = this.tenants.get(tenant);
    if (known !== undefined) return known;
    const names = new Map<string, t.SchemaRow>();
    this.tenants.set(tenant, names);
    return names;
  }

  async *#scan<V>(table: Table<V>, prefix: string) {
    let from = prefix;
    for (;;) {
      const page = await this.#rows.scan(table, { from, to: after(prefix), limit: PAGE_ROWS });
      yield* page;
      const last = page.at(-1);
      if (last === undefined) return;
      from = `${last.key}\0`;
    }
  }
}
