// Makes a server have what manifests declare, and says what that changed. The same for `flowmesh apply`, over
// the network, and `flowmesh dev`, in-process.
//   R1. Each resource stands alone: one that the server refuses does not keep the others back.
//   R2. Schemas come first, as queues and streams may refer to them.
//   R3. Nothing is deleted because it is not declared any more.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Source, type SourcedResource, servedName } from '../crds/manifests.ts';
import { toQueueSpec, toSchemaSpec, toStreamSpec } from '../crds/translate.ts';
import { formatDuration, formatSize } from '../crds/values.ts';

/** Where declarations go: the admin API, without what it takes to call it. */
export interface Declarations {
  listQueues(): Promise<pb.QueueInput[]>;
  listSchemas(): Promise<pb.SchemaInput[]>;
  getSchema(name: string): Promise<pb.SchemaInput>;
  listStreams(): Promise<pb.StreamInput[]>;
  applyQueue(spec: pb.QueueSpecInput): Promise<pb.QueueInput>;
  applySchema(spec: pb.SchemaSpecInput): Promise<pb.SchemaInput>;
  applyStream(spec: pb.StreamSpecInput): Promise<pb.StreamInput>;
}

export interface Outcome {
  kind: 'queue' | 'schema' | 'stream';
  name: string;
  result: 'created' | 'changed' | 'unchanged' | 'refused';
  /** `maxAttempts 10 -> 5`. */
  changes: string[];
  /** Why it was refused. */
  error?: unknown;
  /** Who declares it otherwise, and will change it back: `Queue shop/emails`. */
  owner?: string;
  source: Source;
}

export async function reconcile(
  resources: readonly SourcedResource[],
  server: Declarations,
): Promise<Outcome[]> {
  const [queues, streams, schemas] = await Promise.all([
    server.listQueues(),
    server.listStreams(),
    // Not of a server that knows none.
    resources.some(({ kind }) => kind === 'Schema') ? server.listSchemas() : [],
  ]);
  const schemaNames = new Set(schemas.map(({ spec }) => spec?.name));
  const queueSpecs = new Map(queues.map(({ spec }) => [spec?.name, spec]));
  const streamSpecs = new Map(streams.map(({ spec }) => [spec?.name, spec]));
  const outcomes: Outcome[] = [];
  for (const resource of schemasFirst(resources)) {
    const name = servedName(resource) ?? '';
    const { source } = resource;
    if (resource.kind === 'Schema') {
      // Lists do not say what versions hold.
      const before = schemaNames.has(name) ? (await server.getSchema(name)).spec : undefined;
      const apply = () => server.applySchema(toSchemaSpec(resource));
      outcomes.push(await outcome({ kind: 'schema', name, source }, before, apply));
    } else if (resource.kind === 'Queue') {
      const apply = () => server.applyQueue(toQueueSpec(resource));
      outcomes.push(await outcome({ kind: 'queue', name, source }, queueSpecs.get(name), apply));
    } else if (resource.kind === 'Stream') {
      const apply = () => server.applyStream(toStreamSpec(resource));
      outcomes.push(await outcome({ kind: 'stream', name, source }, streamSpecs.get(name), apply));
    }
  }
  return outcomes;
}

/** R2 */
const schemasFirst = (resources: readonly SourcedResource[]): SourcedResource[] => [
  ...resources.filter(({ kind }) => kind === 'Schema'),
  ...resources.filter(({ kind }) => kind !== 'Schema'),
];

type Spec = pb.QueueSpecInput | pb.SchemaSpecInput | pb.StreamSpecInput | null | undefined;

async function outcome(
  subject: Pick<Outcome, 'kind' | 'name' | 'source'>,
  before: Spec,
  apply: () => Promise<pb.QueueInput | pb.SchemaInput | pb.StreamInput>,
): Promise<Outcome> {
  try {
    const { spec: after, owner, drifted } = await apply();
    if (!before) return { ...subject, result: 'created', changes: [] };
    const changes = differences(before, after ?? {});
    if (changes.length === 0) return { ...subject, result: 'unchanged', changes };
    return { ...subject, result: 'changed', changes, ...(owner && drifted ? { owner: nameOf(owner) } : {}) };
  } catch (error) {
    return { ...subject, result: 'refused', changes: [], error };
  }
}

const nameOf = ({ kind, namespace, name, uid }: pb.OwnerInput): string =>
  [kind, [namespace, name].filter(Boolean).join('/')].filter(Boolean).join(' ') || `${uid}`;

/** Fields that differ, also those that are gone, with times and sizes as manifests write them. */
function differences(before: object, after: object, prefix = ''): string[] {
  const [old, now] = [fieldsOf(before), fieldsOf(after)];
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((field) => {
    if (field === 'name' || field === 'mutation') return [];
    const [was, value] = [old.get(field), now.get(field)];
    if (field === 'versions') return addedVersions(was, value);
    if (isNested(was) || isNested(value))
      return differences(isNested(was) ? was : {}, isNested(value) ? value : {}, `${prefix}${field}.`);
    const name = prefix + field.replace(/(?:Ms|Bytes)$/, '');
    const [from, to] = [inWords(field, was), inWords(field, value)];
    return from === to ? [] : [`${name} ${from} -> ${to}`];
  });
}

const isNested = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array);

/** What has a name goes by it, not by its place in a list. */
function fieldsOf(value: object): Map<string, unknown> {
  if (!Array.isArray(value)) return new Map(Object.entries(value));
  return new Map(value.map((item, i) => [String((item as { name?: string } | null)?.name ?? i), item]));
}

/** Versions are only ever added. */
function addedVersions(before: unknown, after: unknown): string[] {
  const numbers = (list: unknown) => ((list ?? []) as pb.SchemaVersionInput[]).map(({ version }) => version);
  const known = new Set(numbers(before));
  return numbers(after).flatMap((version) => (known.has(version) ? [] : [`version ${version} added`]));
}

function inWords(field: string, value: unknown): string {
  if (value instanceof Uint8Array) value = Buffer.from(value).toString();
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return 'unset';
  if (typeof value === 'number' && field.endsWith('Ms')) return formatDuration(value);
  if (typeof value === 'number' && field.endsWith('Bytes')) return formatSize(value);
  return String(value);
}
