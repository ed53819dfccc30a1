// What `podTemplate` may not change, put back after the merge, each with a reason for the owner of the
// cluster.
//   Z1. The pods keep meeting the `restricted` Pod Security profile, sidecars included.
//   Z2. The pods keep their identity, their data and the way in which they start and stop.
//   Z3. Whatever was merged in, the result holds our container with our command, mounts and probes.
import type { Json } from '../../crds/types.ts';
import { secureContainer } from './container-safety.ts';
import { isMapping, type Mapping } from './merge.ts';
import { CONTAINER } from './names.ts';
import { CONFIG_HASH, DATA_VOLUME, GRACE_SECONDS } from './pod.ts';

/** Says what was not taken over from `podTemplate`, and why. */
export type Warn = (path: string, reason: string) => void;

export const RESTRICTED = 'pods must meet the restricted Pod Security profile';
const PLACE = 'the operator and the scheduler decide where pods run and what they are called';
const LIFE = 'the operator decides when pods end';

const LEFT_OUT: Readonly<Record<string, string>> = {
  hostNetwork: RESTRICTED,
  hostPID: RESTRICTED,
  hostIPC: RESTRICTED,
  os: RESTRICTED,
  nodeName: PLACE,
  hostname: PLACE,
  hostnameOverride: PLACE,
  subdomain: PLACE,
  setHostnameAsFQDN: PLACE,
  activeDeadlineSeconds: LIFE,
  restartPolicy: LIFE,
  ephemeralContainers: 'they are for running pods: kubectl debug',
  serviceAccount: 'write serviceAccountName',
};

/** What the restricted profile lets a volume be. */
const VOLUME_KINDS = new Set([
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'persistentVolumeClaim',
  'projected',
  'secret',
]);
/** Of our volumes, the one whose size may be changed. */
const SCRATCH = 'tmp';

export function secureTemplate(merged: Mapping, base: Mapping, warn: Warn): Mapping {
  return {
    metadata: secureMetadata(mapping(merged['metadata']), mapping(base['metadata']), warn),
    spec: secureSpec(mapping(merged['spec']), mapping(base['spec']), warn),
  };
}

export const mapping = (value: Json | undefined): Mapping => (isMapping(value) ? value : {});
export const mappings = (value: Json | undefined): Mapping[] =>
  Array.isArray(value) ? value.filter(isMapping) : [];
export const isSame = (left: Json | undefined, right: Json | undefined) =>
  JSON.stringify(left) === JSON.stringify(right);

function secureMetadata(merged: Mapping, base: Mapping, warn: Warn): Mapping {
  for (const name of Object.keys(merged)) {
    if (name !== 'labels' && name !== 'annotations') warn(`metadata.${name}`, PLACE);
  }
  const own = {
    labels: mapping(base['labels']),
    annotations: pick(mapping(base['annotations']), CONFIG_HASH),
  };
  const kept = (field: keyof typeof own) => {
    const given = mapping(merged[field]);
    for (const [name, value] of Object.entries(own[field])) {
      if (!isSame(given[name], value)) warn(`metadata.${field}.${name}`, 'it belongs to the operator');
    }
    return { ...given, ...own[field] };
  };
  return { labels: kept('labels'), annotations: kept('annotations') };
}

function secureSpec(merged: Mapping, base: Mapping, warn: Warn): Mapping {
  const spec = { ...merged };
  for (const [name, reason] of Object.entries(LEFT_OUT)) {
    if (!Object.hasOwn(spec, name)) continue;
    if (spec[name] !== false) warn(`spec.${name}`, reason);
    delete spec[name];
  }
  if (spec['automountServiceAccountToken'] !== false) {
    warn('spec.automountServiceAccountToken', 'the pods never speak to the API server');
    spec['automountServiceAccountToken'] = false;
  }
  spec['serviceAccountName'] ??= base['serviceAccountName'] ?? null;
  const grace = spec['terminationGracePeriodSeconds'];
  if (typeof grace !== 'number' || grace < GRACE_SECONDS) {
    warn('spec.terminationGracePeriodSeconds', `a pod may need ${GRACE_SECONDS} s to finish what it holds`);
    spec['terminationGracePeriodSeconds'] = GRACE_SECONDS;
  }
  spec['securityContext'] = securePod(
    mapping(spec['securityContext']),
    mapping(base['securityContext']),
    warn,
  );
  const volumes = secureVolumes(mappings(spec['volumes']), mappings(base['volumes']), warn);
  spec['volumes'] = volumes;
  const mountable = new Set([DATA_VOLUME, ...volumes.map((volume) => volume['name'])]);
  const [ours = {}] = mappings(base['containers']);
  const given = mappings(spec['containers']);
  if (!given.some(({ name }) => name === CONTAINER)) warn('spec.containers', 'our container stays');
  const others = given.filter(({ name }) => name !== CONTAINER);
  const own = given.find(({ name }) => name === CONTAINER) ?? ours;
  const secure = (list: string, container: Mapping, baseContainer?: Mapping) =>
    secureContainer(container, { path: `spec.${list}`, base: baseContainer, mountable, warn });
  spec['containers'] = [secure('containers', own, ours), ...others.map((each) => secure('containers', each))];
  if (spec['initContainers'] !== undefined) {
    spec['initContainers'] = mappings(spec['initContainers']).map((each) => secure('initContainers', each));
  }
  return spec;
}

function securePod(merged: Mapping, base: Mapping, warn: Warn): Mapping {
  const context = { ...merged };
  const path = (name: string) => `spec.securityContext.${name}`;
  const putBack = (name: string) => {
    warn(path(name), RESTRICTED);
    const before = base[name];
    if (before === undefined) delete context[name];
    else context[name] = before;
  };
  if (context['runAsNonRoot'] !== true) putBack('runAsNonRoot');
  if (context['runAsUser'] === 0) putBack('runAsUser');
  if (!isConfined(context['seccompProfile'])) putBack('seccompProfile');
  if (Object.hasOwn(context, 'appArmorProfile') && !isConfined(context['appArmorProfile'])) {
    putBack('appArmorProfile');
  }
  if (Object.hasOwn(context, 'windowsOptions')) putBack('windowsOptions');
  return context;
}

export function isConfined(profile: Json | undefined): boolean {
  const type = mapping(profile)['type'];
  return type === 'RuntimeDefault' || type === 'Localhost';
}

function secureVolumes(merged: Mapping[], base: Mapping[], warn: Warn): Mapping[] {
  const path = (volume: Mapping) => `spec.volumes.${String(volume['name'])}`;
  const others = merged.filter((volume) => {
    if (base.some(({ name }) => name === volume['name'])) return false;
    if (volume['name'] === DATA_VOLUME) {
      warn(path(volume), 'the data is on the volume that storage describes');
      return false;
    }
    const kinds = Object.keys(volume).filter((field) => field !== 'name');
    if (kinds.length > 0 && kinds.every((kind) => VOLUME_KINDS.has(kind))) return true;
    warn(path(volume), RESTRICTED);
    return false;
  });
  const ours = base.map((volume) => {
    const now = merged.find(({ name }) => name === volume['name']);
    if (isSame(now, volume)) return volume;
    const kinds = Object.keys(now ?? {}).join();
    if (volume['name'] === SCRATCH && now !== undefined && kinds === Object.keys(volume).join()) return now;
    warn(path(volume), 'the pods need it as it is');
    return volume;
  });
  return [...ours, ...others];
}

function pick(from: Mapping, name: string): Mapping {
  const value = from[name];
  return value === undefined ? {} : { [name]: value };
}
