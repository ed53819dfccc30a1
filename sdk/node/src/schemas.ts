// fm.schema: what payloads look like, version by version. Queues and streams refer to schemas by `schemaRef`.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { AdminClient, UnaryClient } from '@flowmesh/protocol/gen/services.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import type { Declaration, Owner, OwnerOptions } from './declarations.ts';

/** Which schema payloads must match. */
export interface SchemaRef {
  name: string;
  /** Only this one. Default: the newest, whichever that is when something is written. */
  version?: number | undefined;
}

export type FieldType = 'string' | 'number' | 'integer' | 'boolean' | 'object' | 'array';

/** A JSON Schema of draft 2020-12, as it is written. */
export type JsonSchema = { readonly [keyword: string]: unknown };

export interface SchemaVersion {
  /** 1 and up, from the oldest to the newest. */
  version: number;
  /** Shorthand. Fields without a default are required, others than these are allowed. */
  fields?: Readonly<Record<string, FieldType | JsonSchema>> | undefined;
  /** Instead of `fields`. References are local, patterns are those of RE2. */
  jsonSchema?: JsonSchema | undefined;
  /** How a payload of the version before becomes one of this. Kept, and not carried out yet. */
  migrate?: readonly MigrationStep[] | undefined;
}

export type MigrationStep =
  | { rename: { from: string; to: string } }
  | { set: { field: string; value: unknown } }
  | { remove: { field: string } };

export interface SchemaSettings {
  /** What a new version must keep. Kept, and not judged yet. Default: backward. */
  compatibility?: 'none' | 'backward' | 'forward' | 'full' | undefined;
  /** At least one. Versions never change: those that are left out stay as they are. */
  versions: readonly SchemaVersion[];
}

/** A schema as it is declared. */
export interface SchemaView {
  name: string;
  compatibility: NonNullable<SchemaSettings['compatibility']>;
  versions: SchemaVersion[];
  latestVersion: number;
  /** Queues and streams that refer to it. */
  users: number;
  createdAtMs: number;
  owner: Owner | undefined;
  generation: number;
  /** Somebody else changed it since its owner declared it. */
  drifted: boolean;
}

/** Every method throws FlowError. */
export class Schemas {
  readonly #connection: Connection;

  /** @internal */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * Creates a schema, or adds versions. Idempotent.
   * @throws FlowError SCHEMA_INVALID, IMMUTABLE (a version is there, and says something else)
   */
  async apply(name: string, settings: SchemaSettings, options?: CallOptions): Promise<SchemaView> {
    return schemaView(await this.#admin((s) => s.applySchema, this.#spec(name, settings), options));
  }

  /**
   * Makes a schema what its owner declares, and says what that changed. Idempotent.
   * @throws FlowError STALE_GENERATION, OWNED_BY_OTHER, ADOPTION_REFUSED, and as `apply`
   */
  declare(
    name: string,
    settings: SchemaSettings,
    by: Declaration,
    options?: CallOptions,
  ): Promise<pb.DeclareSchemaResponse> {
    return this.#admin((s) => s.declareSchema, { spec: this.#spec(name, settings), ...by }, options);
  }

  /** @throws FlowError SCHEMA_NOT_FOUND */
  async get(name: string, options?: CallOptions): Promise<SchemaView> {
    return schemaView(await this.#admin((s) => s.getSchema, { name }, options));
  }

  /** By name; versions by number only: what they say is asked by `get`. */
  async list(options?: CallOptions): Promise<SchemaView[]> {
    return (await this.#admin((s) => s.listSchemas, {}, options)).schemas.map(schemaView);
  }

  /** @throws FlowError SCHEMA_IN_USE while a queue or stream refers to it, SCHEMA_NOT_FOUND */
  async delete(name: string, options?: OwnerOptions): Promise<void> {
    const mutation = this.#connection.mutation();
    await this.#admin((s) => s.deleteSchema, { name, owner: options?.owner, mutation }, options);
  }

  #spec(name: string, { compatibility, versions }: SchemaSettings): pb.SchemaSpecInput {
    const mutation = this.#connection.mutation();
    return { name, compatibility, versions: versions.map(versionMessage), mutation };
  }

  #admin<Request, Response>(
    method: (stub: AdminClient) => UnaryClient<Request, Response>,
    request: Request,
    options: CallOptions | undefined,
  ): Promise<Response> {
    const { admin } = this.#connection;
    return this.#connection.call(admin, method(admin), request, options);
  }
}

const versionMessage = ({ version, fields, jsonSchema, migrate }: SchemaVersion): pb.SchemaVersionInput => ({
  version,
  fields: jsonOf(fields),
  jsonSchema: jsonOf(jsonSchema),
  migrate: jsonOf(migrate),
});

const jsonOf = (value: unknown) => (value === undefined ? undefined : JSON.stringify(value));

export function schemaView(schema: pb.Schema): SchemaView {
  const { spec, latestVersion, users, createdAtMs, owner, generation, drifted } = schema;
  return {
    name: spec?.name ?? '',
    compatibility: (spec?.compatibility || 'backward') as SchemaView['compatibility'],
    versions: (spec?.versions ?? []).map(({ version, fields, jsonSchema, migrate }) => ({
      version,
      ...(fields === '' ? {} : { fields: JSON.parse(fields) }),
      ...(jsonSchema === '' ? {} : { jsonSchema: JSON.parse(jsonSchema) }),
      ...(migrate === '' ? {} : { migrate: JSON.parse(migrate) }),
    })),
    ...{ latestVersion, users, createdAtMs, generation, drifted, owner: owner ?? undefined },
  };
}
