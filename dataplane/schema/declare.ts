// Decisions about schemas as a whole: what a declaration adds, whose a schema is, and that it goes.
//   D1. A version never changes and never goes: records of it may be there for ever. A declaration that
//       leaves one out leaves it as it is, so that nobody who declares is stuck with what another one
//       added.
//   D2. New versions come behind those that are there.
import { FlowError } from '@flowmesh/protocol';
import { canonical, type JsonValue } from '../../crds/payload/language.ts';
import { changesBetween } from '../admin/changes.ts';
import { checkOwner, decideClaim } from '../admin/ownership.ts';
import type { Emit } from '../shard/state-machine.ts';
import type { Copy, Declare, DeclareReply, Delete, Disown, DisownReply, Drop } from './commands.ts';
import { type Declared, type Deleted, type Owned, SCHEMA_EVENT } from './events.ts';
import type { SchemaState } from './state.ts';
import type { SchemaRow, SchemaTerms, SchemaVersion } from './tables.ts';

export const VERSIONS_MAX = 100;
/** Of all texts of one schema: they are one event. */
const SCHEMA_CHARS_MAX = 512 * 1024;
export const SCHEMAS_MAX = 5000;
/** Of all schemas of a tenant: they are kept in memory, on each shard. */
const TENANT_CHARS_MAX = 64 * 1024 * 1024;

export const schemaNotFound = (name: string): FlowError =>
  new FlowError('SCHEMA_NOT_FOUND', `there is no schema ${name}; declare it first`);

export const newestOf = ({ versions }: SchemaTerms): SchemaVersion => versions.at(-1) as SchemaVersion;

export function decideDeclare(state: SchemaState, command: Declare, emit: Emit): DeclareReply {
  const { name, claim } = command;
  const { tenant } = command.caller;
  const known = state.find(tenant, name);
  const terms = known === undefined ? command.terms : merged(known, command.terms);
  const changes = known === undefined ? [] : changesBetween(shownOf(known), shownOf(terms));
  const claimed =
    claim && decideClaim(`schema ${name}`, known && { ownership: known.ownership, changes }, claim);
  if (known !== undefined) refuseRewriting(known, command.terms);
  if (known === undefined || changes.length > 0) {
    checkRoom(state, tenant, known, terms);
    const { uid, createdAtMs } = known ?? command;
    emit({ type: SCHEMA_EVENT.declared, tenant, name, uid, createdAtMs, terms } as Declared);
  }
  if (claimed === undefined) return {};
  const { result, drifted, ownership } = claimed;
  if (ownership !== null) emit({ type: SCHEMA_EVENT.owned, tenant, name, ownership } as Owned);
  return { result, changes, drifted };
}

/** D1 */
function merged(known: SchemaTerms, { compatibility, versions }: SchemaTerms): SchemaTerms {
  const all = new Map(known.versions.map((each) => [each.version, each]));
  // One that is there otherwise shows as a change; `refuseRewriting` says what is wrong with it.
  for (const each of versions) if (!isSame(all.get(each.version), each)) all.set(each.version, each);
  return { compatibility, versions: [...all.values()].sort((a, b) => a.version - b.version) };
}

function refuseRewriting(known: SchemaRow, { versions }: SchemaTerms): void {
  const newest = newestOf(known).version;
  for (const next of versions) {
    const there = known.versions.find(({ version }) => version === next.version);
    if (there !== undefined) {
      if (isSame(there, next)) continue;
      const why = `is ${textOf(there).slice(0, 200)}, and never changes, as there may be messages of it`;
      const cure = `declare version ${newest + 1}`;
      throw immutable(known, next, `${why}: ${cure}`);
    }
    if (next.version > newest) continue;
    const why = `would come before version ${newest}, which is there: number it ${newest + 1}`;
    throw immutable(known, next, why);
  }
}

const immutable = ({ name }: SchemaRow, { version }: SchemaVersion, why: string): FlowError =>
  new FlowError('IMMUTABLE', `version ${version} of schema ${name} ${why}`);

const isSame = (a: SchemaVersion | undefined, b: SchemaVersion): boolean =>
  a !== undefined && textOf(a) === textOf(b);

/** What a version says, whatever the order of its names. */
function textOf({ fields, jsonSchema, migrate }: SchemaVersion): string {
  const parts = Object.entries({ fields, jsonSchema, migrate }).filter(([, text]) => text !== '');
  return canonical(Object.fromEntries(parts.map(([what, text]) => [what, JSON.parse(text) as JsonValue])));
}

const shownOf = ({ compatibility, versions }: SchemaTerms) => ({
  compatibility,
  versions: Object.fromEntries(versions.map((each) => [each.version, textOf(each)])),
});

const charsOf = ({ versions }: SchemaTerms): number =>
  versions.reduce(
    (sum, { fields, jsonSchema, migrate }) => sum + fields.length + jsonSchema.length + migrate.length,
    0,
  );

function checkRoom(
  state: SchemaState,
  tenant: number,
  known: SchemaRow | undefined,
  next: SchemaTerms,
): void {
  if (next.versions.length > VERSIONS_MAX) {
    const most = `at most ${VERSIONS_MAX} are kept: go on under another name`;
    throw new FlowError('SCHEMA_INVALID', `the schema would have ${next.versions.length} versions; ${most}`);
  }
  const chars = charsOf(next);
  if (chars > SCHEMA_CHARS_MAX) {
    const most = `at most ${SCHEMA_CHARS_MAX} are kept: go on under another name`;
    throw new FlowError(
      'SCHEMA_INVALID',
      `the versions of the schema would have ${chars} characters; ${most}`,
    );
  }
  let count = known === undefined ? 1 : 0;
  let total = chars - (known === undefined ? 0 : charsOf(known));
  for (const each of state.all(tenant)) {
    count++;
    total += charsOf(each);
  }
  if (count <= SCHEMAS_MAX && total <= TENANT_CHARS_MAX) return;
  const most = `at most ${SCHEMAS_MAX} schemas of ${TENANT_CHARS_MAX} characters in all are kept`;
  throw new FlowError('RESOURCE_EXHAUSTED', `${most}: delete some that nobody uses`);
}

export function decideCopy(state: SchemaState, command: Copy, emit: Emit): object {
  const { name, uid, createdAtMs, terms } = command;
  const { tenant } = command.caller;
  const known = state.find(tenant, name);
  if (known?.uid !== uid || JSON.stringify(termsOf(known)) !== JSON.stringify(terms))
    emit({ type: SCHEMA_EVENT.declared, tenant, name, uid, createdAtMs, terms } as Declared);
  return {};
}

export const termsOf = ({ compatibility, versions }: SchemaTerms): SchemaTerms => ({
  compatibility,
  versions,
});

export function decideDelete(state: SchemaState, command: Delete, emit: Emit): object {
  const { name, owner } = command;
  const { tenant } = command.caller;
  const known = state.find(tenant, name);
  if (known === undefined) throw schemaNotFound(name);
  if (owner !== undefined) checkOwner(`schema ${name}`, known.ownership, owner);
  emit({ type: SCHEMA_EVENT.deleted, tenant, name } as Deleted);
  return {};
}

export function decideDrop(state: SchemaState, { name, caller: { tenant } }: Drop, emit: Emit): object {
  if (state.find(tenant, name) !== undefined) emit({ type: SCHEMA_EVENT.deleted, tenant, name } as Deleted);
  return {};
}

export function decideDisown(state: SchemaState, command: Disown, emit: Emit): DisownReply {
  const { name, owner } = command;
  const { tenant } = command.caller;
  const known = state.find(tenant, name);
  if (known === undefined) throw schemaNotFound(name);
  if (known.ownership === null) return { released: false };
  if (owner !== undefined) checkOwner(`schema ${name}`, known.ownership, owner);
  emit({ type: SCHEMA_EVENT.owned, tenant, name, ownership: null } as Owned);
  return { released: true };
}
