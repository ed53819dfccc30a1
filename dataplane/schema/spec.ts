// From the message of a declaration to terms, and back. What is wrong with a declaration as such is said
// here; what is wrong with a version as a schema, when it is compiled.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { readSchemaText } from '../../crds/payload/language.ts';
import { checkMigration } from '../../crds/payload/migration.ts';
import { SchemaProblem } from '../../crds/payload/problem.ts';
import type { SchemaRef } from './check.ts';
import { VERSIONS_MAX } from './declare.ts';
import { COMPATIBILITIES, type SchemaRow, type SchemaTerms, type SchemaVersion } from './tables.ts';

const VERSION_MAX = 1_000_000;
/** As of objects in Kubernetes, and what queues may be called; not @, which comes before the version. */
const NAME = /^[A-Za-z0-9_.:{}-]{1,253}$/;

export function checkSchemaName(name: string): void {
  if (NAME.test(name)) return;
  const which = JSON.stringify(name.slice(0, 60));
  throw new FlowError(
    'INVALID_ARGUMENT',
    `schema name ${which}: 1 to 253 of letters, digits and . _ - : { }`,
  );
}

export function readSchemaRef({ name, version }: pb.SchemaRef): SchemaRef {
  checkSchemaName(name);
  return { name, version };
}

export function readTerms(spec: pb.SchemaSpec): SchemaTerms {
  const compatibility = COMPATIBILITIES.find((each) => each === (spec.compatibility || 'backward'));
  if (compatibility === undefined) {
    const list = COMPATIBILITIES.join(', ');
    throw new FlowError('INVALID_ARGUMENT', `compatibility is one of ${list}, not ${spec.compatibility}`);
  }
  const { length } = spec.versions;
  if (length === 0 || length > VERSIONS_MAX)
    throw new FlowError(
      'SCHEMA_INVALID',
      `schema ${spec.name} has ${length} versions: 1 to ${VERSIONS_MAX} are accepted`,
    );
  let before = 0;
  const versions = spec.versions.map((each) => {
    const { version } = each;
    const of = `version ${version} of schema ${spec.name}`;
    if (version < 1 || version > VERSION_MAX)
      throw new FlowError('SCHEMA_INVALID', `${of}: versions are numbers from 1 to ${VERSION_MAX}`);
    if (version <= before)
      throw new FlowError(
        'SCHEMA_INVALID',
        `${of} comes behind ${before}: list them from the oldest to the newest`,
      );
    before = version;
    return invalidAs(of, () => readVersion(each));
  });
  return { compatibility, versions };
}

function readVersion({ version, fields, jsonSchema, migrate }: pb.SchemaVersion): SchemaVersion {
  const compact = (text: string) => (text === '' ? '' : JSON.stringify(readSchemaText(text)));
  if (migrate !== '') checkMigration(readSchemaText(migrate));
  return { version, fields: compact(fields), jsonSchema: compact(jsonSchema), migrate: compact(migrate) };
}

/** What is found wrong becomes the error that callers see. */
export function invalidAs<R>(what: string, read: () => R): R {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof SchemaProblem)
      throw new FlowError('SCHEMA_INVALID', `${what}: ${cause.message}`, { cause });
    throw cause;
  }
}

export const specMessage = ({ name, compatibility, versions }: SchemaRow): pb.SchemaSpecInput => ({
  name,
  compatibility,
  versions: versions.map((each) => ({ ...each })),
});
