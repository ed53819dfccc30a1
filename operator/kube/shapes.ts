// What an object looks like through the fields that we set: whether an apply would change anything, without
// asking the API server.
//   P1. The projection of a live object onto what is wanted holds exactly the paths that are wanted. Entries
//       of lists are matched as the API server merges them: by their keys where they have one, else in order.
//   P2. Fingerprints ignore the order of fields.
import { createHash } from 'node:crypto';

type Json = unknown;

/** Keys of list entries, the most telling first. */
const ENTRY_KEYS = ['name', 'type', 'uid', 'key', 'mountPath', 'containerPort', 'port', 'topologyKey', 'ip'];

export function project(live: Json, wanted: Json): Json {
  if (Array.isArray(wanted)) return Array.isArray(live) ? projectList(live, wanted) : live;
  if (!isRecord(wanted) || !isRecord(live)) return live;
  // An empty map or list that is wanted is dropped by the server: then it is not missing.
  return Object.fromEntries(
    Object.entries(wanted)
      .filter(([name, value]) => value !== undefined && !(isEmpty(value) && live[name] === undefined))
      .map(([name, value]) => [name, project(live[name], value)]),
  );
}

function projectList(live: readonly Json[], wanted: readonly Json[]): Json[] {
  const key = keyOfEntries(wanted);
  if (key === undefined) {
    return live.length === wanted.length ? wanted.map((each, at) => project(live[at], each)) : [...live];
  }
  return wanted.map((each) => {
    const found = live.find((other) => isRecord(other) && other[key] === (each as Record<string, Json>)[key]);
    return found === undefined ? undefined : project(found, each);
  });
}

function keyOfEntries(entries: readonly Json[]): string | undefined {
  return ENTRY_KEYS.find((key) => {
    const values = entries.map((entry) => (isRecord(entry) ? entry[key] : undefined));
    return values.every((value) => value !== undefined) && new Set(values).size === entries.length;
  });
}

export function fingerprint(value: Json): string {
  return createHash('sha256').update(canonical(value)).digest('base64');
}

/** JSON with the fields in order; undefined ones are left out. */
export function canonical(value: Json): string {
  const ordered = (_: string, each: Json) =>
    isRecord(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each;
  return JSON.stringify(value ?? null, ordered);
}

function isRecord(value: Json): value is Record<string, Json> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEmpty(value: Json): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
