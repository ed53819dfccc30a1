// What neither a schema nor a rule can see in a manifest, as it takes a calendar or another schema to know:
// cron expressions and time zones, and the schemas inside a Schema. The API server accepts such a mistake;
// the operator says it in a condition, and the offline checks and the webhook say it before.
import { createRequire } from 'node:module';
import type { ValidateFunction } from 'ajv';
import { cronProblem } from './cron.ts';
import { anatomyOf } from './payload/anatomy.ts';
import { compileChecker } from './payload/checker.ts';
import { jsonSchemaOf, type VersionText } from './payload/language.ts';
import { SchemaProblem } from './payload/problem.ts';
import { type FieldProblem, isMapping, quoted } from './problems.ts';
import { nearest } from './suggest.ts';
import type { Queue, Resource, Schema } from './types.ts';
import type { Path } from './yaml-source.ts';

/** What a queue keeps of its schedules (dataplane/queue/schedule-spec.ts). */
const PAYLOAD_BYTES_MAX = 64 * 1024;
const PAYLOADS_BYTES_MAX = 256 * 1024;

export function meaningProblems(resource: Resource): FieldProblem[] {
  if (resource.kind === 'Queue') return scheduleProblems(resource);
  return resource.kind === 'Schema' ? schemaProblems(resource) : [];
}

function scheduleProblems({ spec: { schedules = [] } }: Queue): FieldProblem[] {
  let total = 0;
  return schedules.flatMap(({ cron, timeZone = 'UTC', payload }, index): FieldProblem[] => {
    const at = (field: string, message: string, cure: string) => [
      { path: ['spec', 'schedules', index, field], message, cure },
    ];
    if (cronProblem('0 0 * * *', timeZone) !== undefined)
      return at(
        'timeZone',
        `${quoted(timeZone)} is not a known time zone`,
        'write a name such as Europe/Berlin',
      );
    const wrong = cronProblem(cron, timeZone);
    if (wrong !== undefined) {
      const why = wrong.charAt(0).toLowerCase() + wrong.slice(1);
      const cure = 'write minute, hour, day of month, month, day of week: 0 3 * * *';
      return at('cron', `${quoted(cron)} is not a cron expression: ${why}`, cure);
    }
    const bytes = payload === undefined ? 0 : Buffer.byteLength(JSON.stringify(payload));
    total += bytes;
    if (bytes <= PAYLOAD_BYTES_MAX && total <= PAYLOADS_BYTES_MAX) return [];
    const most = `at most ${PAYLOAD_BYTES_MAX} each and ${PAYLOADS_BYTES_MAX} in all are kept`;
    return at('payload', `has ${bytes} bytes as JSON: ${most}`, 'enqueue a reference to the data instead');
  });
}

/** The shorthand of `fields`. */
const TYPES = ['string', 'number', 'integer', 'boolean', 'object', 'array'];

function schemaProblems({ spec }: Schema): FieldProblem[] {
  return spec.versions.flatMap(({ fields, jsonSchema }, index): FieldProblem[] => {
    const at = ['spec', 'versions', index];
    const inFields = Object.entries(fields ?? {}).flatMap(([name, field]) =>
      fieldProblems(field, [...at, 'fields', name]),
    );
    const found =
      jsonSchema === undefined ? inFields : [...inFields, ...jsonProblems(jsonSchema, [...at, 'jsonSchema'])];
    if (found.length > 0) return found;
    const isNewest = index >= spec.versions.length - COMPILED_MAX;
    return useProblems({ fields: textOf(fields), jsonSchema: textOf(jsonSchema) }, at, isNewest);
  });
}

const textOf = (value: unknown): string => (value === undefined ? '' : JSON.stringify(value));

/** Compiling is for few and small ones: who judges a manifest must be done soon. */
const COMPILED_MAX = 10;
const COMPILED_CHARS_MAX = 4096;

/** What the data plane would say: of all about references, patterns and sizes; of some about keywords. */
function useProblems(text: VersionText, at: Path, isNewest: boolean): FieldProblem[] {
  const isSmall = text.fields.length + text.jsonSchema.length <= COMPILED_CHARS_MAX;
  try {
    if (isNewest && isSmall) compileChecker(text);
    else anatomyOf(jsonSchemaOf(text));
    return [];
  } catch (error) {
    if (!(error instanceof SchemaProblem)) throw error;
    const names = namesOf(error.place);
    // A field of the shorthand is a property of what it stands for.
    const path = text.jsonSchema === '' ? ['fields', ...names.slice(1)] : ['jsonSchema', ...names];
    const cure = 'write a JSON Schema of draft 2020-12, with local references and patterns of RE2';
    return [{ path: [...at, ...path], message: error.what, cure }];
  }
}

function fieldProblems(field: unknown, path: Path): FieldProblem[] {
  if (typeof field === 'string' && TYPES.includes(field)) return [];
  if (isMapping(field)) return jsonProblems(field, path);
  const near = typeof field === 'string' ? nearest(field, TYPES) : undefined;
  const cure = near ? `did you mean ${near}?` : `write ${TYPES.join(', ')} or a JSON Schema`;
  return [{ path, message: `is ${quoted(field)}, not a type`, cure }];
}

let metaSchema: ValidateFunction | undefined;

/** Whether it is a JSON Schema, not whether it can be met. Only the first mistake: others are its echo. */
function jsonProblems(schema: unknown, path: Path): FieldProblem[] {
  const draft = 'https://json-schema.org/draft/2020-12/schema';
  metaSchema ??= draft2020().getSchema(draft);
  if (metaSchema === undefined || metaSchema(schema)) return [];
  const [error] = metaSchema.errors ?? [];
  const names = namesOf(error?.instancePath ?? '');
  const allowed: unknown = error?.params['allowedValues'];
  const cure = Array.isArray(allowed) ? `write ${allowed.join(', ')}` : 'see JSON Schema, draft 2020-12';
  const message = `is not a JSON Schema: ${error?.message ?? 'it does not match the draft'}`;
  return [{ path: [...path, ...names], message, cure }];
}

/** Steps of a JSON pointer. */
const namesOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));

/** Loaded late: few manifests have a schema in them. */
function draft2020() {
  const { Ajv2020 }: typeof import('ajv/dist/2020.js') = createRequire(import.meta.url)('ajv/dist/2020.js');
  return new Ajv2020({ strict: false, logger: false, validateFormats: false });
}
