// How a finding in a manifest is written down and shown: where, which resource, which field, what, and what
// to do.
import type { Path } from './yaml-source.ts';

export interface Problem {
  file: string;
  /** 1 for the first document; 0: the file as a whole. */
  document: number;
  line: number;
  column: number;
  /** Which resource, where it is known: `Queue emails`. */
  subject: string;
  /** `spec.delivery.maxAttempts`; empty: the document as a whole. */
  field: string;
  message: string;
  cure: string;
  /** The line itself. */
  excerpt: string;
}

/** A finding that has no place yet. `of: 'key'` points at the name, not at the value. */
export interface FieldProblem {
  path: Path;
  message: string;
  cure: string;
  of?: 'key' | 'value';
}

/** One problem on two lines: where and what, then what to do. */
export function formatProblem(problem: Problem): string {
  const { file, document, line, column, subject, field, message, cure } = problem;
  const where = [document > 1 ? `document ${document}` : '', subject].filter(Boolean).join(', ');
  const what = field === '' ? message : `${field}: ${message}`;
  return `${file}:${line}:${column}${where === '' ? '' : ` (${where})`} ${what}\n    ${cure}`;
}

export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value of the manifest inside a message: short, on one line. */
export function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

export function formatPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}
