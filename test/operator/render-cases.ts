// The manifests in specs/, each a FlowMeshCluster that varies one field, and what makes of each everything
// that the operator would apply. A case may begin with `# apis: none` to stand for a cluster without any
// extra API.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { bindingSecret, tokenSecret } from '../../operator/resources/binding.ts';
import { authoritySecret, tlsSecret } from '../../operator/resources/certificates.ts';
import {
  type ClusterDefaults,
  type ClusterObject,
  effectiveOf,
  resolveCluster,
} from '../../operator/resources/cluster.ts';
import { desiredObjects } from '../../operator/resources/desired.ts';
import type { KubernetesObject } from '../../operator/resources/objects.ts';

export const specsDir = join(import.meta.dirname, 'specs');
export const rendersDir = join(import.meta.dirname, 'renders');

export const DEFAULTS: ClusterDefaults = {
  image: 'registry.example/flowmesh:0.1.0',
  clusterDomain: 'cluster.local',
  operatorNamespace: 'flowmesh-system',
};
export const ALL_APIS = { serviceMonitor: true, prometheusRule: true, certificate: true };
const NO_APIS = { serviceMonitor: false, prometheusRule: false, certificate: false };
const PEM = '(PEM)\n';

export interface RenderCase {
  readonly name: string;
  readonly cluster: ClusterObject;
  readonly apis: typeof ALL_APIS;
  readonly text: string;
}

export const CASES: readonly RenderCase[] = readdirSync(specsDir)
  .sort()
  .map((file) => {
    const text = readFileSync(join(specsDir, file), 'utf8');
    const cluster: ClusterObject = parse(text);
    cluster.metadata.uid = '00000000-0000-0000-0000-000000000001';
    return {
      name: file.replace(/\.yaml$/, ''),
      cluster,
      apis: text.includes('# apis: none') ? NO_APIS : ALL_APIS,
      text,
    };
  });

/** With Secrets whose content is a stand-in. */
export function objectsOf({ cluster, apis }: RenderCase): KubernetesObject[] {
  const resolved = resolveCluster(cluster, DEFAULTS);
  const credentials = { token: '(token)', authorities: resolved.tls.mode === 'Disabled' ? undefined : PEM };
  return [
    tokenSecret(resolved, credentials.token),
    ...(resolved.tls.mode === 'Operator'
      ? [
          authoritySecret(resolved, { 'tls.crt': PEM, 'tls.key': PEM, 'ca.crt': PEM }),
          tlsSecret(resolved, { 'tls.crt': PEM, 'tls.key': PEM, 'ca.crt': PEM }),
        ]
      : []),
    bindingSecret(resolved, credentials),
    ...desiredObjects(resolved, apis).objects,
  ];
}

export function caseOf(name: string): RenderCase {
  const found = CASES.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no spec ${name}`);
  return found;
}

/** These two in full; of the others what differs from `default`, so that a render shows what a field does. */
const IN_FULL = ['default', 'everything'];

export function render(renderCase: RenderCase): string {
  const resolved = resolveCluster(renderCase.cluster, DEFAULTS);
  const { absent, warnings, problems } = desiredObjects(resolved, renderCase.apis);
  const before = IN_FULL.includes(renderCase.name) ? [] : objectsOf(caseOf('default'));
  const documents = objectsOf(renderCase).flatMap((object) => {
    const base = before.find((each) => each.kind === object.kind && sameName(each, object));
    const shown = base === undefined ? readable(object) : difference(readable(base), readable(object));
    return shown === undefined ? [] : [shown];
  });
  const summary = {
    effective: effectiveOf(resolved),
    absent: absent.map(({ kind, name }) => `${kind} ${name}`),
    warnings,
    problems,
  };
  const yaml = (value: unknown) => stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
  return [summary, ...documents].map(yaml).join('---\n');
}

const sameName = (left: KubernetesObject, right: KubernetesObject) =>
  left.metadata?.name === right.metadata?.name;

/** Secrets as text: a diff of Base64 tells nobody anything. */
function readable(object: KubernetesObject & { data?: Record<string, string> }): unknown {
  if (object.kind !== 'Secret') return object;
  const entries = Object.entries(object.data ?? {});
  const data = entries.map(([name, value]) => [name, Buffer.from(value, 'base64').toString()]);
  return { ...object, data: Object.fromEntries(data) };
}

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Entries of lists and objects keep what tells them apart. */
const IDENTITY = ['kind', 'name', 'mountPath', 'containerPort'];

/** What is in `now` and differs from `before`; undefined: nothing. */
function difference(before: unknown, now: unknown): unknown {
  if (JSON.stringify(before) === JSON.stringify(now)) return undefined;
  if (Array.isArray(before) && Array.isArray(now) && now.every(isMapping)) {
    const changes = now.map((entry) =>
      difference(
        before.find((each) => isSameEntry(each, entry)),
        entry,
      ),
    );
    const gone = before.filter((entry) => !now.some((each) => isSameEntry(each, entry)));
    return [...changes.filter((entry) => entry !== undefined), ...gone.map((entry) => ({ gone: entry }))];
  }
  if (!isMapping(before) || !isMapping(now)) return now;
  const identity = IDENTITY.filter((field) => field in now).map((field) => [field, now[field]]);
  const changes = Object.keys({ ...before, ...now }).flatMap((field) => {
    if (!(field in now)) return [[field, '(gone)']];
    const change = difference(before[field], now[field]);
    return change === undefined ? [] : [[field, change]];
  });
  const metadata = isMapping(now['metadata']) ? { metadata: { name: now['metadata']['name'] } } : {};
  return { ...Object.fromEntries(identity), ...metadata, ...Object.fromEntries(changes) };
}

function isSameEntry(left: unknown, right: unknown): boolean {
  if (!isMapping(left) || !isMapping(right)) return false;
  const key = ['name', 'mountPath', 'containerPort', 'topologyKey'].find((field) => field in right);
  return key !== undefined && left[key] === right[key];
}
