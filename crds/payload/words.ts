// What a validator found, in words: which field, what was expected, and what came instead. Values themselves
// are not repeated, as errors end in logs.
import type { ErrorObject } from 'ajv';
import type { Violation } from './checker.ts';
import { escaped } from './language.ts';

const TEXT_MAX = 200;
const FIELD_MAX = 200;

export function wordsOf(
  { instancePath, keyword, params, message }: ErrorObject,
  payload: unknown,
): Violation {
  const at = (name: string) => `${instancePath}/${escaped(name)}`;
  const found = (field: string, what: string): Violation => ({
    field: field.slice(0, FIELD_MAX),
    what: what.slice(0, TEXT_MAX),
  });
  switch (keyword) {
    case 'required':
    case 'dependentRequired':
      return found(at(`${params['missingProperty']}`), 'is missing');
    case 'additionalProperties':
      return found(at(`${params['additionalProperty']}`), 'is not a field of the schema');
    case 'unevaluatedProperties':
      return found(at(`${params['unevaluatedProperty']}`), 'is not a field of the schema');
    case 'type':
      return found(
        instancePath,
        `is ${kindOf(valueAt(payload, instancePath))}, not ${typesOf(params['type'])}`,
      );
    case 'enum':
      return found(instancePath, `is none of ${JSON.stringify(params['allowedValues'])}`);
    case 'const':
      return found(instancePath, `is not ${JSON.stringify(params['allowedValue'])}`);
    case 'pattern':
      return found(instancePath, `does not match ${params['pattern']}`);
    case 'format':
      return found(instancePath, `is not of the format ${params['format']}`);
    case 'uniqueItems':
      return found(instancePath, 'has an item twice');
    case 'false schema':
      return found(instancePath, 'must not be there');
    default:
      return found(instancePath, message ?? `fails ${keyword}`);
  }
}

const typesOf = (type: unknown): string => (Array.isArray(type) ? type.join(' or ') : `${type}`);

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number' && !Number.isFinite(value)) return 'a number out of range';
  return typeof value;
}

function valueAt(payload: unknown, pointer: string): unknown {
  let value = payload;
  for (const step of pointer.split('/').slice(1)) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~');
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
