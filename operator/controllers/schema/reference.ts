// The Schema that a queue or stream names, and who names a Schema. Pure.
//   R1. It is looked for in the namespace of who names it, and must be kept on the same cluster: the data
//       plane checks payloads by what it has itself.
//   R2. What was in force once is good enough: a Schema whose newest versions are refused, or whose data
//       plane is away for a moment, takes nothing from those who use it.
//   R3. Who names a Schema uses it until it is gone, or until the data plane has it without: a spec that does
//       not name it any more is not in force yet.
import type { Change } from '../../kube/cache.ts';
import { conditionOf } from '../../kube/conditions.ts';
import { type Key, keyOf } from '../../kube/objects.ts';
import type { DeclaredObject } from '../declared/kinds.ts';
import { clusterKeyOf } from '../declared/reference.ts';
import type { SchemaObject } from './kind.ts';

export type SchemaView =
  /** None is named. */
  | { readonly kind: 'unneeded' }
  | { readonly kind: 'missing'; readonly key: Key }
  /** `clusterKey` is where it is. */
  | { readonly kind: 'elsewhere'; readonly key: Key; readonly clusterKey: Key }
  | { readonly kind: 'no-version'; readonly key: Key; readonly version: number }
  /** It is there, and its cluster does not have it, or not that version of it. */
  | { readonly kind: 'pending'; readonly key: Key }
  | { readonly kind: 'in-force' };

function schemaKeyOf({ metadata, spec }: DeclaredObject): Key | undefined {
  return spec.schemaRef && keyOf({ name: spec.schemaRef.name, namespace: metadata.namespace });
}

/** R3 */
export function usedSchemas(object: DeclaredObject): Key[] {
  const inForce = object.status?.effective?.schemaRef?.name;
  const { namespace } = object.metadata;
  const names = new Set([object.spec.schemaRef?.name ?? [], inForce ?? []].flat());
  return [...names].map((name) => keyOf({ name, namespace }));
}

export function viewSchema(
  object: DeclaredObject,
  schemaAt: (key: Key) => SchemaObject | undefined,
): SchemaView {
  const key = schemaKeyOf(object);
  if (key === undefined) return { kind: 'unneeded' };
  const schema = schemaAt(key);
  if (schema === undefined) return { kind: 'missing', key };
  const clusterKey = clusterKeyOf(schema);
  if (clusterKey !== clusterKeyOf(object)) return { kind: 'elsewhere', key, clusterKey };
  const version = object.spec.schemaRef?.version;
  if (version !== undefined && !schema.spec.versions.some((each) => each.version === version))
    return { kind: 'no-version', key, version };
  const { latestVersion = 0, conditions } = schema.status ?? {};
  const isInForce = latestVersion >= (version ?? 1) && conditionOf(conditions, 'Ready')?.status !== 'False';
  return isInForce ? { kind: 'in-force' } : { kind: 'pending', key }; // R2
}

/** For a watch: what `viewSchema` reads of a Schema, and not who uses it. */
export function concernsUsers(change: Change<SchemaObject>): boolean {
  if (change.kind !== 'updated') return true;
  const read = ({ metadata, spec, status }: SchemaObject) =>
    JSON.stringify([
      metadata.uid,
      spec.versions.map(({ version }) => version),
      status?.latestVersion,
      conditionOf(status?.conditions, 'Ready')?.status,
    ]);
  return read(change.object) !== read(change.before);
}

/** For a watch: whether it uses other ones than before. */
export function concernsSchemas(change: Change<DeclaredObject>): boolean {
  if (change.kind !== 'updated') return true;
  return String(usedSchemas(change.object)) !== String(usedSchemas(change.before));
}

/** How many are named in a message. */
const NAMED_MAX = 3;

/** `Queue shop/emails, Stream shop/orders and 3 more`. */
export function usersText(users: readonly string[]): string {
  const more = users.length - NAMED_MAX;
  const named = [...users].sort().slice(0, NAMED_MAX).join(', ');
  return more > 0 ? `${named} and ${more} more` : named;
}
