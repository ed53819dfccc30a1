// One container after the merge (Z1 to Z3 of pod-safety.ts): a sidecar of the owner, or ours with its
// command, mounts, ports and probes put back.
import { posix } from 'node:path';
import type { Json } from '../../crds/types.ts';
import { isMapping, type Mapping } from './merge.ts';
import { isConfined, isSame, mapping, mappings, RESTRICTED, type Warn } from './pod-safety.ts';

interface Terms {
  readonly path: string;
  /** Ours as we want it; unset: it is not ours. */
  readonly base?: Mapping | undefined;
  /** Names of the volumes that there are. */
  readonly mountable: ReadonlySet<Json | undefined>;
  readonly warn: Warn;
}

const OURS: Readonly<Record<string, string>> = {
  image: 'write spec.image',
  imagePullPolicy: 'write spec.image.pullPolicy',
  command: 'it is ours',
  args: 'it is ours',
};
const PROBES = ['startupProbe', 'readinessProbe', 'livenessProbe'];
const PROBE_HANDLERS = ['httpGet', 'exec', 'tcpSocket', 'grpc'];

export function secureContainer(container: Mapping, { path: list, base, mountable, warn }: Terms): Mapping {
  const path = `${list}.${String(container['name'])}`;
  const given: Mapping = {
    ...container,
    securityContext: secureContext(mapping(container['securityContext']), { path, isOurs: !!base, warn }),
  };
  const ports = securePorts(given, { path, base, warn });
  const mounts = secureMounts(given, { path, base, mountable, warn });
  if (ports.length > 0) given['ports'] = ports;
  if (mounts.length > 0 || given['volumeMounts'] !== undefined) given['volumeMounts'] = mounts;
  return base === undefined
    ? given
    : secureOurs(given, base, (field, reason) => warn(`${path}.${field}`, reason));
}

function secureContext(
  merged: Mapping,
  { path, isOurs, warn }: { path: string; isOurs: boolean; warn: Warn },
): Mapping {
  const context = { ...merged };
  const refuse = (name: string) => warn(`${path}.securityContext.${name}`, RESTRICTED);
  const isSet = (name: string) => Object.hasOwn(context, name);
  if (context['privileged'] === true) refuse('privileged');
  context['privileged'] = false;
  if (isSet('allowPrivilegeEscalation') && context['allowPrivilegeEscalation'] !== false) {
    refuse('allowPrivilegeEscalation');
  }
  context['allowPrivilegeEscalation'] = false;
  const { add, drop } = mapping(context['capabilities']);
  if (Array.isArray(add) && add.some((name) => isOurs || name !== 'NET_BIND_SERVICE'))
    refuse('capabilities.add');
  if (drop !== undefined && !isSame(drop, ['ALL'])) refuse('capabilities.drop');
  const mayAdd = !isOurs && isSame(add, ['NET_BIND_SERVICE']);
  context['capabilities'] = { ...(mayAdd ? { add: ['NET_BIND_SERVICE'] } : {}), drop: ['ALL'] };
  const remove = (name: string, isBad: boolean) => {
    if (!isSet(name) || !isBad) return;
    refuse(name);
    delete context[name];
  };
  remove('runAsNonRoot', context['runAsNonRoot'] !== true);
  remove('runAsUser', context['runAsUser'] === 0);
  remove('seccompProfile', !isConfined(context['seccompProfile']));
  remove('appArmorProfile', !isConfined(context['appArmorProfile']));
  remove('procMount', context['procMount'] !== 'Default');
  remove('windowsOptions', true);
  if (!isOurs) return context;
  if (context['readOnlyRootFilesystem'] !== true) {
    warn(`${path}.securityContext.readOnlyRootFilesystem`, 'nothing but its volumes needs to be written');
  }
  return { ...context, readOnlyRootFilesystem: true, runAsNonRoot: true };
}

function securePorts(container: Mapping, { path, base, warn }: Omit<Terms, 'mountable'>): Mapping[] {
  const ours = mappings(base?.['ports']);
  const others = mappings(container['ports']).filter(({ name, containerPort }) => {
    if (ours.some((port) => port['containerPort'] === containerPort)) return false;
    const isTaken = ours.some((port) => port['name'] === name);
    if (isTaken) warn(`${path}.ports.${String(name)}`, 'write spec.listeners');
    return !isTaken;
  });
  return [...ours, ...others].map(({ hostPort, ...port }) => {
    if (hostPort !== undefined) warn(`${path}.ports.${String(port['name'])}.hostPort`, RESTRICTED);
    return port;
  });
}

/** A mount over or below one of ours would hide the data or put a part of it on a volume that goes away. */
function secureMounts(container: Mapping, { path, base, mountable, warn }: Terms): Mapping[] {
  const ours = mappings(base?.['volumeMounts']);
  const pathOf = (mount: Mapping) => posix.resolve('/', String(mount['mountPath']));
  const isWithin = (inner: string, outer: string) =>
    inner === outer || inner.startsWith(outer.endsWith('/') ? outer : `${outer}/`);
  const others = mappings(container['volumeMounts']).filter((mount) => {
    const same = ours.find((each) => each['mountPath'] === mount['mountPath']);
    if (same !== undefined && isSame(same, mount)) return false;
    const at = pathOf(mount);
    const mine = ours.map(pathOf).find((own) => isWithin(at, own) || isWithin(own, at));
    if (mine !== undefined) {
      warn(`${path}.volumeMounts.${at}`, `${mine} is ours`);
      return false;
    }
    if (mountable.has(mount['name'])) return true;
    warn(`${path}.volumeMounts.${at}`, `there is no volume ${String(mount['name'])}`);
    return false;
  });
  return [...ours, ...others];
}

function secureOurs(container: Mapping, base: Mapping, warn: Warn): Mapping {
  const result = { ...container };
  const putBack = (field: string, reason: string) => {
    const before = base[field];
    if (isSame(result[field], before)) return;
    warn(field, reason);
    if (before === undefined) delete result[field];
    else result[field] = before;
  };
  for (const [field, reason] of Object.entries(OURS)) putBack(field, reason);
  for (const field of PROBES) {
    const paced = Object.entries(mapping(result[field])).filter(([name]) => !PROBE_HANDLERS.includes(name));
    const handler = Object.entries(mapping(base[field])).filter(([name]) => PROBE_HANDLERS.includes(name));
    const probe = paced.length > 0 ? Object.fromEntries([...paced, ...handler]) : (base[field] ?? {});
    if (!isSame(handlersOf(result[field]), handlersOf(base[field])))
      warn(field, 'only its pace may be changed');
    result[field] = probe;
  }
  const lifecycle = mapping(result['lifecycle']);
  if (
    !isSame(lifecycle['preStop'], mapping(base['lifecycle'])['preStop']) ||
    lifecycle['stopSignal'] !== undefined
  ) {
    warn('lifecycle', 'pods leave the Services before they stop, and stop at SIGTERM');
  }
  const { stopSignal: _, ...rest } = lifecycle;
  result['lifecycle'] = { ...rest, ...mapping(base['lifecycle']) };
  result['env'] = ownEnv(mappings(result['env']), mappings(base['env']), warn);
  return result;
}

function handlersOf(probe: Json | undefined): Json {
  const entries = Object.entries(mapping(probe)).filter(([name]) => PROBE_HANDLERS.includes(name));
  return Object.fromEntries(entries.sort(([left], [right]) => (left < right ? -1 : 1)));
}

function ownEnv(merged: Mapping[], base: Mapping[], warn: Warn): Mapping[] {
  for (const own of base) {
    const now = merged.find(({ name }) => name === own['name']);
    if (!isSame(now, own)) warn(`env.${String(own['name'])}`, 'it is ours');
  }
  const others = merged.filter(({ name }) => !base.some((own) => isMapping(own) && own['name'] === name));
  return [...base, ...others];
}
