// Which part of the repository may import which. Arrows point downwards only:
//   api -> views -> scaling -> cluster -> shard -> storage, journal
// The data plane and the operator share only crds and proto. In the operator:
//   main.ts -> controllers, admission, metrics-api -> serving, resources, kube

const base = ['proto', 'dataplane/runtime', 'dataplane/telemetry'];
const disk = ['dataplane/storage', 'dataplane/journal'];
const views = ['admin', 'kv', 'queue', 'stream', 'schema', 'replay', 'txn'].map(
  (view) => `dataplane/${view}`,
);
const shard = ['dataplane/shard', ...disk, ...base];
const cluster = ['dataplane/cluster', ...shard];
/** The contract that views implement and adapters call. */
const services = 'dataplane/services';
/** Views bring what it is measured from. */
const scaling = ['dataplane/scaling', ...cluster, 'crds'];
const service = [...views, services, ...scaling];
const dataplane = ['dataplane/api', ...service];

const operatorRooms = ['kube', 'resources', 'controllers', 'serving', 'admission', 'metrics-api'].map(
  (room) => `operator/${room}`,
);
const reconcilers = [...operatorRooms, 'operator/runtime', 'crds', 'proto'];

/** Part -> the parts it may import, itself included. A part that is not listed may import anything. */
const allowed: Record<string, string[]> = {
  proto: ['proto'],
  crds: ['crds'],
  sdk: ['sdk', 'proto'],
  operator: ['operator', ...reconcilers],
  'operator/runtime': ['operator/runtime'],
  'operator/kube': ['operator/kube', 'operator/runtime'],
  'operator/resources': ['operator/resources', 'crds'],
  'operator/controllers': reconcilers,
  'operator/serving': ['operator/serving', 'operator/resources', 'operator/kube', 'operator/runtime'],
  'operator/admission': reconcilers,
  'operator/metrics-api': reconcilers,
  cli: ['cli', 'sdk', 'crds', 'proto', 'dataplane/main.ts'],
  'dataplane/runtime': base,
  'dataplane/telemetry': base,
  'dataplane/storage': [...disk, ...base],
  'dataplane/journal': [...disk, ...base],
  'dataplane/shard': shard,
  'dataplane/cluster': [...cluster, 'crds'],
  [services]: [services, 'dataplane/scaling', ...cluster],
  ...Object.fromEntries(views.map((view) => [view, service])),
  'dataplane/scaling': scaling,
  'dataplane/api': dataplane,
  'dataplane/main.ts': [...dataplane, 'dataplane', 'dataplane/main.ts'],
  dataplane: [...dataplane, 'dataplane'],
};

/** Parts whose decisions are pure: time, chance and the environment are arguments. */
export const pureParts = new Set([
  ...disk,
  ...views,
  'dataplane/scaling',
  'dataplane/shard',
  ...operatorRooms,
]);

/** `dataplane` is the wiring beside main.ts; undefined is a room that nobody has given a place. */
export function partOf(path: string): string | undefined {
  const [top = '', room = ''] = path.split('/');
  if (top === 'operator') return operatorPart(room);
  if (top !== 'dataplane') return top;
  if (room.startsWith('runtime')) return 'dataplane/runtime';
  if (path === 'dataplane/main.ts') return path;
  if (path === 'dataplane/services.ts') return services;
  if (room.endsWith('.ts')) return 'dataplane';
  const part = `dataplane/${room}`;
  return part in allowed ? part : undefined;
}

function operatorPart(room: string): string | undefined {
  if (room === 'runtime.ts') return 'operator/runtime';
  if (room.endsWith('.ts')) return 'operator';
  return operatorRooms.find((part) => part === `operator/${room}`);
}

export function mayImport(from: string, to: string): boolean {
  const list = allowed[from];
  return list === undefined || list.includes(to);
}

export function allowedFrom(part: string): string {
  return allowed[part]?.join(', ') ?? 'anything';
}
