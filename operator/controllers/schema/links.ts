// Who uses which Schema, among the objects at hand, and what brings one back when the other changes.
import { type Source, watched } from '../../kube/controller.ts';
import type { Informer } from '../../kube/informer.ts';
import { type Key, type KubeObject, keyOf } from '../../kube/objects.ts';
import type { DeclaredObject } from '../declared/kinds.ts';
import type { Kind } from '../declared/plane.ts';
import { clusterKeyOf } from '../declared/reference.ts';
import type { SchemaObject } from './kind.ts';
import { concernsSchemas, concernsUsers, usedSchemas } from './reference.ts';

/** Those of queues and streams have `usedSchemas` as their index `schema`. */
export type Objects = Readonly<Record<Kind, Informer<DeclaredObject>>>;

export const schemasIn =
  ({ schema }: Objects) =>
  (key: Key) =>
    schema.get(key) as SchemaObject | undefined;

/** `Queue namespace/name` of each object that uses the schema, and is on its cluster. */
export function usersOf(schema: DeclaredObject, { queue, stream }: Objects): string[] {
  return [queue, stream].flatMap((users) =>
    users
      .byIndex('schema', keyOf(schema.metadata))
      .filter((each) => clusterKeyOf(each) === clusterKeyOf(schema))
      .map((each) => `${users.resource.kind} ${keyOf(each.metadata)}`),
  );
}

/** For a controller of that kind: schemas for who uses them, who uses them for schemas. */
export function linkSources(objects: Objects, kind: Kind): Source[] {
  const { queue, stream, schema } = objects;
  if (kind === 'schema') return [queue, stream].map((each) => watched(each, usedSchemas, concernsSchemas));
  const users = ({ metadata }: KubeObject) =>
    objects[kind].byIndex('schema', keyOf(metadata)).map((each) => keyOf(each.metadata));
  return [watched(schema as unknown as Informer<SchemaObject>, users, concernsUsers)];
}
