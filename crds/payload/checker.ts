// Checks payloads against one version of a schema. Schemas and payloads are both other people's: whatever
// they are, making a checker and using it ends, soon, and fetches nothing.
//   C1. What a check may cost is known beforehand (anatomy.ts). What may be much runs under a watchdog.
//   C2. A payload is never changed: defaults are for readers.
import { isUtf8 } from 'node:buffer';
import { createRequire } from 'node:module';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { anatomyOf } from './anatomy.ts';
import { type JsonValue, jsonSchemaOf, type VersionText } from './language.ts';
import { compilePattern } from './patterns.ts';
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
  const made = within(COMPILE_MS_MAX, () => compile(jsonSchemaOf(text)));
  if (made === TOO_LONG)
    throw new SchemaProblem('', `takes more than ${COMPILE_MS_MAX} ms to compile: simplify it`);
  return made;
}

function compile(schema: JsonValue): Checker {
  const { weight, namesInherited, extensions } = anatomyOf(schema);
  const ajv = ajvFor(namesInherited);
  refuseOtherLanguages(schema);
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

type Ajv2020 = import('ajv/dist/2020.js').Ajv2020;

/** Loaded late: most programs that read manifests never see a schema. */
const load = createRequire(import.meta.url);
let metaSchema: ValidateFunction | undefined;

function newAjv(options: object): Ajv2020 {
  const { Ajv2020 }: typeof import('ajv/dist/2020.js') = load('ajv/dist/2020.js');
  return new Ajv2020({
    strict: false,
    // A misspelt keyword or format would be ignored in silence.
    strictSchema: true,
    strictNumbers: true,
    allErrors: false,
    // References are calls: copies of what they refer to could grow without bounds.
    inlineRefs: false,
    logger: false,
    ...options,
  });
}

function ajvFor(namesInherited: boolean): Ajv2020 {
  const regExp = Object.assign((source: string) => compilePattern(source, ''), { code: '' });
  const ajv = newAjv({
    meta: false,
    validateSchema: false,
    ownProperties: namesInherited,
    code: { regExp },
  });
  const addFormats: typeof import('ajv-formats').default = load('ajv-formats');
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

/** Whether it is a schema of this draft. */
function refuseOtherLanguages(schema: JsonValue): void {
  metaSchema ??= newAjv({ validateFormats: false }).getSchema('https://json-schema.org/draft/2020-12/schema');
  if (metaSchema === undefined || metaSchema(schema)) return;
  const error = metaSchema.errors?.[0] as ErrorObject;
  const allowed: unknown = error.params['allowedValues'];
  const which = Array.isArray(allowed) ? `: ${allowed.join(', ')}` : '';
  throw new SchemaProblem(error.instancePath, `${error.message}${which}`);
}
