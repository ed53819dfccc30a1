// What a version of a schema is written in: shorthand fields, or a JSON Schema of draft 2020-12. Turns the
// one into the other, and compares texts by what they say. Pure.
//   L1. Fields without a default are required, and fields that nobody named are allowed: a producer may add
//       some before its consumers know them.
import { SchemaProblem } from './problem.ts';

export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue };

/** The text of one version; one of the two is empty. */
export interface VersionText {
  /** Shorthand: a JSON object whose values are types or JSON Schemas. */
  readonly fields: string;
  readonly jsonSchema: string;
}

export const TYPES = ['string', 'number', 'integer', 'boolean', 'object', 'array'] as const;

/** As the API server has it for objects (crds/schema.yaml). */
const FIELDS_MAX = 500;
/** UTF-8, of one version. */
export const TEXT_BYTES_MAX = 64 * 1024;
export const DEPTH_MAX = 32;

/** The JSON Schema of a version. Throws SchemaProblem. */
export function jsonSchemaOf({ fields, jsonSchema }: VersionText): JsonValue {
  if ((fields === '') === (jsonSchema === '')) {
    const which = fields === '' ? 'neither fields nor jsonSchema' : 'fields and jsonSchema';
    throw new SchemaProblem('', `has ${which}: give one of them`);
  }
  if (jsonSchema !== '') return asObject(readSchemaText(jsonSchema), 'jsonSchema');
  return fromShorthand(asObject(readSchemaText(fields), 'fields'));
}

function fromShorthand(fields: { [name: string]: JsonValue }): JsonValue {
  const names = Object.keys(fields);
  if (names.length > FIELDS_MAX)
    throw new SchemaProblem('', `has ${names.length} fields, at most ${FIELDS_MAX} are accepted`);
  const required: string[] = [];
  const properties = names.map((name): [string, JsonValue] => {
    const field = fields[name] as JsonValue;
    if (typeof field === 'object' && field !== null && !Array.isArray(field)) {
      if (!Object.hasOwn(field, 'default')) required.push(name);
      return [name, field];
    }
    if (!(TYPES as readonly unknown[]).includes(field)) {
      const what = JSON.stringify(field)?.slice(0, 60);
      throw new SchemaProblem(
        `/properties/${escaped(name)}`,
        `is ${what}: write ${TYPES.join(', ')} or a JSON Schema`,
      );
    }
    required.push(name);
    return [name, { type: field }];
  });
  // fromEntries makes a field of any name, also __proto__.
  return { type: 'object', properties: Object.fromEntries(properties), required };
}

/** Parsed, and known to be of a size and depth that can be worked on. Throws SchemaProblem. */
export function readSchemaText(text: string): JsonValue {
  const bytes = Buffer.byteLength(text);
  if (bytes > TEXT_BYTES_MAX)
    throw new SchemaProblem('', `has ${bytes} bytes, at most ${TEXT_BYTES_MAX} are accepted`);
  if (nestingOf(Buffer.from(text)) > DEPTH_MAX)
    throw new SchemaProblem('', `is nested deeper than ${DEPTH_MAX} levels`);
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw new SchemaProblem('', `is not JSON: ${(cause as Error).message}`);
  }
}

function asObject(value: JsonValue, what: string): { [name: string]: JsonValue } {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new SchemaProblem('', `${what} is not an object`);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** How deep arrays and objects lie in each other, without parsing: JSON.parse takes any depth. */
export function nestingOf(json: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let isText = false;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at] as number;
    if (isText) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isText = false;
    } else if (byte === QUOTE) isText = true;
    // { and } are [ and ] + 32.
    else if ((byte & ~0x20) === OPEN_BRACKET) {
      if (++depth > deepest) deepest = depth;
    } else if ((byte & ~0x20) === CLOSE_BRACKET) depth--;
  }
  return deepest;
}

/** The same text for values that say the same, whatever the order of their names. */
export function canonical(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  const fields = names.map((name) => `${JSON.stringify(name)}:${canonical(value[name] as JsonValue)}`);
  return `{${fields.join(',')}}`;
}

/** A name as a step of a JSON pointer. */
export const escaped = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1');
