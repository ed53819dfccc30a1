// Rows of the schema view. Tables 112-127; ids never change their meaning, and new fields may be absent.
//
//   counters  tenant 0, one row a shard     what survives deletions
//   tenants   tenant 0, one row a tenant    whose rows to load at start
//   schema    name                          the declaration: on its home shard, and a copy on each other one
import type { Ownership } from '../admin/ownership.ts';
import type { Table } from '../storage/contract.ts';
import { part, readU32be, textToByteString, u32be } from '../storage/keys.ts';

/** One version as it was declared; all but the number are JSON texts, and empty where they are not given. */
export interface SchemaVersion {
  readonly version: number;
  readonly fields: string;
  readonly jsonSchema: string;
  readonly migrate: string;
}

export const COMPATIBILITIES = ['none', 'backward', 'forward', 'full'] as const;
export type Compatibility = (typeof COMPATIBILITIES)[number];

/** What people declare. Versions from the oldest to the newest, at least one. */
export interface SchemaTerms {
  readonly compatibility: Compatibility;
  readonly versions: readonly SchemaVersion[];
}

export interface SchemaRow extends SchemaTerms {
  readonly name: string;
  /** The same on all shards; another schema of the same name has another one. */
  readonly uid: number;
  readonly createdAtMs: number;
  /** Who declares it; only at home. Null: whoever may. */
  readonly ownership: Ownership | null;
  /** Journal positions of the first declaration, and of the last change that people see. */
  readonly bornAt: number;
  readonly changedAt: number;
}

/** Rows that belong to the shard and not to a tenant. */
const SYSTEM_TENANT = 0;

const jsonTable = <V>(id: number, name: string): Table<V> => ({
  id,
  name,
  encode: (v, w) => w.text(JSON.stringify(v)),
  decode: (r) => JSON.parse(r.text()) as V,
});

/** Journal position of the last deletion of a schema. */
export const COUNTERS = jsonTable<{ readonly deletedAt: number }>(112, 'schema-counters');
export const TENANTS = jsonTable<true>(113, 'schema-tenants');
export const SCHEMAS = jsonTable<SchemaRow>(114, 'schema');

export const tablePrefix = (tenant: number, { id }: { readonly id: number }): string =>
  u32be(tenant) + String.fromCharCode(id);

export const countersKey = (): string => tablePrefix(SYSTEM_TENANT, COUNTERS);
export const tenantsPrefix = (): string => tablePrefix(SYSTEM_TENANT, TENANTS);
export const tenantKey = (tenant: number): string => tenantsPrefix() + u32be(tenant);
export const readTenant = (key: string): number => readU32be(key, tenantsPrefix().length);
export const schemaKey = (tenant: number, name: string): string =>
  tablePrefix(tenant, SCHEMAS) + part(textToByteString(name));
