// Schemas, as the operator declares and shows them.
import { effectiveSchema } from '../../../crds/effective.ts';
import { toSchemaSpec } from '../../../crds/translate.ts';
import type { Schema, SchemaSpec, SchemaStatus } from '../../../crds/types.ts';
import type { KubeObject } from '../../kube/objects.ts';
import type { DeclaredKind } from '../declared/kinds.ts';

export interface SchemaObject extends KubeObject {
  spec: SchemaSpec;
  status?: SchemaStatus;
}

export const SCHEMA: DeclaredKind<SchemaObject, 'schema'> = {
  kind: 'schema',
  resource: {
    group: 'flowmesh.io',
    version: 'v1alpha1',
    plural: 'schemas',
    kind: 'Schema',
    namespaced: true,
  },
  always: (_, users) => ({ users }),
  nameOf: ({ metadata }) => metadata.name,
  async declare(connection, object, claim, signal) {
    const request = { spec: toSchemaSpec(object as Schema), ...claim };
    const { schema, result, changes, drifted } = await connection.declareSchema(request, signal);
    return {
      ...{ result, changes },
      // A version that somebody else added is not set back: latestVersion tells of it.
      drifted: drifted && changes.length > 0,
      effective: effectiveSchema(object as Schema),
      latestVersion: schema?.latestVersion ?? 0,
    };
  },
  // In use, it is refused in any case: there is no `ifEmpty` to ask for.
  remove: (connection, { name, owner }, signal) => connection.deleteSchema({ name, owner }, signal),
};
