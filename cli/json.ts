// Protocol messages as JSON for scripts: every field is there, also those with their default, and numbers are
// numbers. (Messages have a `toJSON` of their own, which follows protobuf: defaults left out, 64-bit numbers
// as text.)
import { printable, textOf } from './text.ts';

/** JSON itself escapes the control characters below 32 only; terminals obey others as well. */
export const inJson = (value: unknown, indent?: number): string =>
  printable(JSON.stringify(value, null, indent), true);

export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array) return textOf(value) ?? { base64: Buffer.from(value).toString('base64') };
  if (typeof value !== 'object' || value === null) return value;
  const fields: Record<string, unknown> = {};
  // Defaults are on the prototype, in the order of the protocol, which is the order one wants to read.
  const names = [...Object.keys(Object.getPrototypeOf(value) ?? {}), ...Object.keys(value)];
  for (const name of new Set(names)) {
    const field = (value as Record<string, unknown>)[name];
    if (typeof field !== 'function') fields[name] = plain(field);
  }
  return fields;
}

/** `plain` without the fields that say nothing to a reader. */
export function plainWithout(value: object, ...names: string[]): Record<string, unknown> {
  const fields = plain(value) as Record<string, unknown>;
  for (const name of names) delete fields[name];
  return fields;
}

/** As the HTTP API says it: JSON as itself, text as text, anything else under `<name>Base64`. */
export function jsonField(name: string, bytes: Uint8Array, contentType: string): Record<string, unknown> {
  const text = textOf(bytes);
  if (text === undefined) return { [`${name}Base64`]: Buffer.from(bytes).toString('base64') };
  if (!/[/+]json\b/.test(contentType)) return { [name]: text };
  try {
    return { [name]: JSON.parse(text) };
  } catch {
    return { [name]: text };
  }
}
