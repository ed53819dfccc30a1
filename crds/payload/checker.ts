// Checks payloads against one version of a schema. Schemas and payloads are both other people's: whatever
// they are, making a checker and using it ends, soon, and fetches nothing.
//   C1. What a check may cost is known beforehand (anatomy.ts). What may be much runs under a watchdog.
//   C2. A payload is never changed: defaults are for readers.
import { isUtf8 } from 'node:buffer';
import { createRequire } from 'node:module';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { anatomyOf } from './anatomy.ts';
import { type JsonValue, jsonSchemaOf, type VersionText } from './language.ts';
import { compilePattern, loadPatterns } from './patterns.ts';
import { SchemaProblem } from './problem.ts';
import { isUnique } from './unique.ts';
import { TOO_LONG, within } from './watchdog.ts';
import { wordsOf } from './words.ts';

/** What does not match. */
export interface Violation {
  /** JSON pointer into the payload; empty: all of it. */
  readonly field: string;
  /** What was expected, and what came instead. */
  readonly what: string;
}

export interface Checker {
  /** Steps for each byte of a payload, at most. */
  readonly weight: number;
  /** Undefined: it matches. Not bounded by itself: see `checkWithin`. */
  check(contentType: string, payload: Uint8Array): Violation | undefined;
}

/** A step takes about 10 ns: below this nobody has to watch. */
const UNWATCHED_STEPS_MAX = 2_000_000;
const CHECK_MS_MAX = 250;
const COMPILE_MS_MAX = 1000;

/** Runs checks that may cost so many steps together. TOO_LONG: they were ended. */
export const checkWithin = <R>(steps: number, run: () => R): R | typeof TOO_LONG =>
  steps <= UNWATCHED_STEPS_MAX ? run() : within(CHECK_MS_MAX, run);

/** Throws SchemaProblem: it is no schema, or not one that can be used. */
export function compileChecker(text: VersionText): Checker {
  const ready = toolsOf();
  const made = within(COMPILE_MS_MAX, () => compile(ready, jsonSchemaOf(text)));
  if (made !== TOO_LONG) return made;
  throw new SchemaProblem('', `takes more than ${COMPILE_MS_MAX} ms to compile: simplify it`);
}

function compile(ready: Tools, schema: JsonValue): Checker {
  const { weight, namesInherited, extensions } = anatomyOf(schema);
  const ajv = ajvFor(ready, namesInherited);
  refuseOtherLanguages(ready, schema);
  for (const name of extensions) ajv.addVocabulary([name]);
  const validate = asProblem(() => ajv.compile(schema as object));
  return { weight, check: (contentType, payload) => violationOf(validate, contentType, payload) };
}

function asProblem<R>(run: () => R): R {
  try {
    return run();
  } catch (error) {
    if (error instanceof SchemaProblem) throw error;
    throw new SchemaProblem('', (error as Error).message.replace(/^strict mode: /, ''));
  }
}

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json(?:$|[ ;])/i;

function violationOf(
  validate: ValidateFunction,
  contentType: string,
  payload: Uint8Array,
): Violation | undefined {
  if (!JSON_TYPE.test(contentType)) {
    const type = contentType.slice(0, 60) || 'without a content type';
    return { field: '', what: `is ${type}, not application/json` };
  }
  if (!isUtf8(payload)) return { field: '', what: 'is not JSON: it is not UTF-8' };
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString());
  } catch (error) {
    return { field: '', what: `is not JSON: ${(error as Error).message.slice(0, 100)}` };
  }
  try {
    if (validate(value)) return undefined;
  } catch (error) {
    if (error instanceof RangeError) return { field: '', what: 'is nested too deep to be checked' };
    throw error;
  }
  return wordsOf(validate.errors?.at(-1) as ErrorObject, value);
}

/** Loaded late: most programs that read manifests never see a schema. */
const load = createRequire(import.meta.url);

interface Tools {
  readonly Ajv2020: typeof import('ajv/dist/2020.js').Ajv2020;
  readonly addFormats: typeof import('ajv-formats').default;
  /** Whether something is a schema of this draft. */
  readonly metaSchema: ValidateFunction;
}

let tools: Tools | undefined;

/** Never under a watchdog: a module whose loading was ended stays half loaded for ever. */
function toolsOf(): Tools {
  if (tools !== undefined) return tools;
  loadPatterns();
  const { Ajv2020 }: typeof import('ajv/dist/2020.js') = load('ajv/dist/2020.js');
  const addFormats: Tools['addFormats'] = load('ajv-formats');
  const draft = new Ajv2020({ ...OPTIONS, validateFormats: false });
  const metaSchema = draft.getSchema('https://json-schema.org/draft/2020-12/schema');
  if (metaSchema === undefined) throw new Error('ajv brings the schema of its draft');
  tools = { Ajv2020, addFormats, metaSchema };
  return tools;
}

const OPTIONS = {
  strict: false,
  // A misspelt keyword or format would be ignored in silence.
  strictSchema: true,
  strictNumbers: true,
  allErrors: false,
  // References are calls: copies of what they refer to could grow without bounds.
  inlineRefs: false,
  logger: false,
} as const;

function ajvFor({ Ajv2020, addFormats }: Tools, namesInherited: boolean) {
  const regExp = Object.assign((source: string) => compilePattern(source, ''), { code: '' });
  const options = { meta: false, validateSchema: false, ownProperties: namesInherited, code: { regExp } };
  const ajv = new Ajv2020({ ...OPTIONS, ...options });
  addFormats(ajv);
  // ajv's own compares each with each.
  ajv.removeKeyword('uniqueItems');
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    errors: false,
    compile: (isOn: boolean) => (items: JsonValue[]) => !isOn || isUnique(items),
  });
  return ajv;
}

function refuseOtherLanguages({ metaSchema }: Tools, schema: JsonValue): void {
  if (metaSchema(schema)) return;
  const error = metaSchema.errors?.[0] as ErrorObject;
  const allowed: unknown = error.params['allowedValues'];
  const which = Array.isArray(allowed) ? `: ${allowed.join(', ')}` : '';
  throw new SchemaProblem(error.instancePath, `${error.message}${which}`);
}
