// A strategic merge, as kubectl does it: mappings merge field by field, lists whose entries have a key merge
// entry by entry, other lists are replaced, null removes a field.
//   M1. Neither argument is changed, and no value can reach a prototype.
//   M2. The order of base entries is kept; new entries follow in the order of the patch.
import type { Json } from '../../crds/types.ts';

export type Mapping = { [name: string]: Json };

/** Which lists of a pod template have keys, as the API of Kubernetes declares them. */
const LIST_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  env: 'name',
  ports: 'containerPort',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  imagePullSecrets: 'name',
  hostAliases: 'ip',
  topologySpreadConstraints: 'topologyKey',
};

export function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function merge(base: Mapping, patch: Mapping): Mapping {
  const fields = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) {
      fields.delete(name);
      continue;
    }
    const before = fields.get(name);
    fields.set(name, mergeValue(name, before, value));
  }
  return Object.fromEntries(fields);
}

function mergeValue(name: string, before: Json | undefined, value: Json): Json {
  if (isMapping(value)) return merge(isMapping(before) ? before : {}, value);
  const key = listKeyOf(name);
  if (!Array.isArray(value)) return value;
  if (key === undefined) return value.map(plain);
  return mergeList(Array.isArray(before) ? before : [], value, key);
}

/** What tells the entries of a list apart, if they have a key. */
export function listKeyOf(name: string): string | undefined {
  return Object.hasOwn(LIST_KEYS, name) ? LIST_KEYS[name] : undefined;
}

function mergeList(before: Json[], patch: Json[], key: string): Json[] {
  const list = [...before];
  const keyOf = (entry: Json | undefined) => (isMapping(entry) ? entry[key] : undefined);
  for (const entry of patch) {
    const at = list.findIndex((each) => keyOf(each) !== undefined && keyOf(each) === keyOf(entry));
    const same = list[at];
    if (isMapping(same) && isMapping(entry)) list[at] = merge(same, entry);
    else list.push(plain(entry));
  }
  return list;
}

/** What is new has nothing to remove. */
const plain = (value: Json): Json => (isMapping(value) ? merge({}, value) : value);
