// /v1/schemas: what payloads look like, version by version. JSON here is JSON, not text.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { messageFields } from './content.ts';
import { ownership } from './figures.ts';
import { RawJson } from './json.ts';
import { mutationOf } from './request.ts';
import { closed, count, idempotencyHeaders, list, open, params, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface SchemaParams {
  schema: string;
}

interface VersionBody {
  version: number;
  fields?: object;
  jsonSchema?: object;
  migrate?: object[];
}

interface SpecBody {
  compatibility?: string;
  versions: VersionBody[];
}

const anyObject = (description: string) => ({ type: 'object', description });

const spec = {
  compatibility: text('What a new version must keep; kept, and not judged yet', {
    enum: ['none', 'backward', 'forward', 'full'],
  }),
  versions: list(
    closed(
      {
        version: count('1 and up, from the oldest to the newest', { minimum: 1 }),
        fields: anyObject('Shorthand: types or JSON Schemas by field'),
        jsonSchema: anyObject('Instead of fields: a JSON Schema of draft 2020-12'),
        migrate: list(anyObject('rename, set or remove'), { maxItems: 100 }),
      },
      ['version'],
    ),
    { minItems: 1, maxItems: 100 },
  ),
};

const schemaSchema = open({
  spec: open({ name: text('Name'), ...spec, versions: list(open({})) }),
  latestVersion: count('The newest version'),
  users: count('Queues and streams that refer to it'),
  createdAtMs: count('When it was created'),
  ...ownership,
});

function schemaFields(schema: pb.SchemaInput) {
  const { name, compatibility, versions } = schema.spec ?? {};
  const fields = messageFields(pb.Schema, { ...schema, spec: {} });
  return { ...fields, spec: { name, compatibility, versions: (versions ?? []).map(versionFields) } };
}

const versionFields = ({ version, fields, jsonSchema, migrate }: pb.SchemaVersionInput) => ({
  version,
  ...inline('fields', fields),
  ...inline('jsonSchema', jsonSchema),
  ...inline('migrate', migrate),
});

const inline = (name: string, json: string | null | undefined) => (json ? { [name]: new RawJson(json) } : {});

const textOf = (json: unknown): string => (json === undefined ? '' : JSON.stringify(json));

export function addPayloadSchemaRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  const { admin } = fabric;
  const tags = ['schemas'];

  app.get(
    '/v1/schemas',
    {
      schema: {
        operationId: 'listSchemas',
        tags,
        summary: 'All schemas, with the numbers of their versions',
        response: { 200: open({ schemas: list(schemaSchema) }), ...problems },
      },
    },
    async ({ caller }) => {
      const { schemas } = await admin.listSchemas(caller);
      return { schemas: (schemas ?? []).map(schemaFields) };
    },
  );

  app.put<{ Params: SchemaParams; Body: SpecBody }>(
    '/v1/schemas/:schema',
    {
      schema: {
        operationId: 'declareSchema',
        tags,
        summary: 'Create the schema or add versions; those that are there never change',
        params: params('schema'),
        headers: idempotencyHeaders,
        body: closed(spec, ['versions']),
        response: { 200: schemaSchema, ...problems },
      },
    },
    async (request) => {
      const { compatibility, versions } = request.body;
      const message = pb.SchemaSpec.create({
        name: request.params.schema,
        compatibility,
        versions: versions.map(({ version, fields, jsonSchema, migrate }) =>
          pb.SchemaVersion.create({
            version,
            fields: textOf(fields),
            jsonSchema: textOf(jsonSchema),
            migrate: textOf(migrate),
          }),
        ),
        mutation: mutationOf(request),
      });
      return schemaFields(await admin.applySchema(request.caller, message));
    },
  );

  app.get<{ Params: SchemaParams }>(
    '/v1/schemas/:schema',
    {
      schema: {
        operationId: 'getSchema',
        tags,
        summary: 'One schema with its versions',
        params: params('schema'),
        response: { 200: schemaSchema, ...problems },
      },
    },
    async ({ caller, params }) =>
      schemaFields(await admin.getSchema(caller, pb.GetSchemaRequest.create({ name: params.schema }))),
  );
}
