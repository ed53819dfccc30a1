// `podTemplate` against the fields of a pod template, before the API server sees it: one unknown field or
// wrong type there would make it refuse the whole StatefulSet.
//   C1. What cannot be is left out and named, so that the result always has the shape of a pod template.
//   C2. Never throws, whatever the manifest holds; what it walks is bounded by the schema.
import type { Json } from '../../crds/types.ts';
import { isMapping, listKeyOf, type Mapping } from './merge.ts';
import { POD_SCHEMA } from './pod-schema.ts';

export interface CheckedTemplate {
  readonly template: Mapping;
  readonly problems: readonly string[];
}

const PROBLEMS_MAX = 20;
/** Quantities may be written as numbers. */
const QUANTITY = /\.(?:limits|requests)\.[^.]+$|\.(?:sizeLimit|divisor|storage)$/;

export function checkPodTemplate(template: Mapping): CheckedTemplate {
  const problems: string[] = [];
  const report = (path: string, message: string) => {
    if (problems.length < PROBLEMS_MAX) problems.push(`${path} ${message}`);
  };
  const checked = checkValue(template, 'V1PodTemplateSpec', 'podTemplate', report);
  return { template: isMapping(checked) ? checked : {}, problems };
}

type Report = (path: string, message: string) => void;

/** undefined: left out. null stays, as it removes a field of ours. */
function checkValue(value: Json, type: string, path: string, report: Report): Json | undefined {
  if (value === null) return value;
  // Of pod templates only managedFields, which nobody writes, may hold anything, however deep.
  if (type === 'any') return leaveOut(path, 'is not for a pod template', report);
  const inner = type.slice(1, -1);
  if (type.startsWith('[')) {
    if (!Array.isArray(value)) return leaveOut(path, 'is not a list', report);
    return value.flatMap((entry, index) => {
      const at = `${path}[${index}]`;
      const checked =
        entry === null ? leaveOut(at, 'is empty', report) : checkValue(entry, inner, at, report);
      if (checked === undefined) return [];
      const key = listKeyOf(path.slice(path.lastIndexOf('.') + 1));
      if (key === undefined || !isMapping(checked) || Object.hasOwn(checked, key)) return [checked];
      report(at, `has no ${key}`);
      return [];
    });
  }
  const fields = POD_SCHEMA[type];
  if (type.startsWith('{') || fields !== undefined) {
    if (!isMapping(value)) return leaveOut(path, 'is not a mapping', report);
    return checkFields(
      value,
      (name) => (fields === undefined ? inner : ownField(fields, name)),
      path,
      report,
    );
  }
  return checkPlain(value, type, path, report);
}

function checkFields(
  value: Mapping,
  typeOf: (name: string) => string | undefined,
  path: string,
  report: Report,
): Mapping {
  // Sorted, so that the order of fields does not decide which problems are told.
  const sorted = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  const entries = sorted.flatMap(([name, field]): [string, Json][] => {
    const type = typeOf(name);
    if (type === undefined) {
      report(`${path}.${name}`, 'is not a field of a pod template');
      return [];
    }
    const checked = checkValue(field, type, `${path}.${name}`, report);
    return checked === undefined ? [] : [[name, checked]];
  });
  return Object.fromEntries(entries);
}

function checkPlain(value: Json, type: string, path: string, report: Report): Json | undefined {
  switch (type) {
    case 'boolean':
      return typeof value === 'boolean' ? value : leaveOut(path, 'is not true or false', report);
    case 'number':
      return Number.isSafeInteger(value) ? value : leaveOut(path, 'is not a whole number', report);
    case 'IntOrString':
      if (Number.isSafeInteger(value) || typeof value === 'string') return value;
      return leaveOut(path, 'is not a number or text', report);
    default:
      if (typeof value === 'number' && QUANTITY.test(path)) return String(value);
      return typeof value === 'string' ? value : leaveOut(path, 'is not text', report);
  }
}

const ownField = (fields: Readonly<Record<string, string>>, name: string) =>
  Object.hasOwn(fields, name) ? fields[name] : undefined;

function leaveOut(path: string, message: string, report: Report): undefined {
  report(path, message);
  return undefined;
}
