// For each rule of the definitions, what it accepts and what it refuses. The same manifests go through the
// offline checks (rules.test.ts) and to a real API server (test/kube).
import type { Kind } from '../../crds/definitions.ts';

type Spec = Record<string, unknown>;

export interface RuleExample {
  kind: Kind;
  /** Where the rule stands; entries of lists are `[]`. */
  at: string;
  /** Which of the rules there. */
  index: number;
  /** For rules that compare: what was. */
  before?: Spec;
  good: Spec;
  bad: Spec;
  /** metadata.name, where the rule is about it. */
  names?: { good: string; bad: string };
}

const words = {
  duration: ['1d12h', '12h1d'],
  size: ['20G', '20GB'],
  volume: ['20Gi', '20'],
  rate: ['1000000/s', '1000001/s'],
  name: ['{a}:b_c.D', 'a b'],
  label: ['a-1', 'A'],
  object: ['a-1.b', 'a_b'],
} as const;

/** One rule about the text at a place. `around`: what else has to be there. */
function text(kind: Kind, at: string, word: readonly [string, string], around: Spec = {}): RuleExample {
  const build = (value: string) => set(structuredClone(around), at.split('.').slice(1), value);
  return { kind, at, index: 0, good: build(word[0]), bad: build(word[1]) };
}

function set(target: Spec, [step = '', ...rest]: string[], value: unknown): Spec {
  const isList = step.endsWith('[]');
  const name = step.replace('[]', '');
  const known = target[name];
  if (isList) {
    const first = Array.isArray(known) ? (known[0] as Spec) : {};
    return { ...target, [name]: [rest.length === 0 ? value : set(first, rest, value)] };
  }
  return {
    ...target,
    [name]: rest.length === 0 ? value : set((known as Spec | undefined) ?? {}, rest, value),
  };
}

const rule = (kind: Kind, at: string, index: number, rest: Omit<RuleExample, 'kind' | 'at' | 'index'>) => ({
  ...{ kind, at, index },
  ...rest,
});

const clusterRef = (kind: Kind, around: Spec = {}): RuleExample[] => [
  rule(kind, 'spec', 0, {
    before: around,
    good: { ...around, clusterRef: { name: 'main' } },
    bad: { ...around, clusterRef: { name: 'main', namespace: 'other' } },
  }),
  text(kind, 'spec.clusterRef.name', words.label, around),
  text(kind, 'spec.clusterRef.namespace', words.label, { ...around, clusterRef: { name: 'main' } }),
];

const targetRef = { kind: 'Deployment', name: 'workers' };
const withScaling = (scaling: Spec) => ({ scaling: { targetRef, scaleTo: 2, ...scaling } });
const withGroup = (scaling: Spec) => ({ consumerGroups: [{ name: 'billing', ...withScaling(scaling) }] });
const conditions = (lag: string): [good: string, bad: string][] => [
  [`${lag} >= 10_000`, `${lag.replace('_', ' ')} > 1`],
  ['processing_time>1h30m', 'colour > 1'],
  ['throughput <= 5/s', 'message_age < 5s'],
  ['throughput < 0.5/s', `${lag} > 0`],
  [`${lag} > 9`, `${lag} > 10s`],
  ['message_age > 1d12h', 'message_age > 12h1d'],
  ['throughput < 1_000.125/h', 'throughput < 5'],
];
/** Of the list as a whole, and of each condition, one for each rule. */
const basedOn = (kind: Kind, at: string, lag: string, build: (scaling: Spec) => Spec): RuleExample[] => [
  rule(kind, at, 0, {
    good: build({ basedOn: [`${lag} > 1`, 'message_age > 1s'] }),
    bad: build({ basedOn: [`${lag} > 1`, `${lag} > 2`] }),
  }),
  ...conditions(lag).map(([good, bad], index) =>
    rule(kind, `${at}[]`, index, { good: build({ basedOn: [good] }), bad: build({ basedOn: [bad] }) }),
  ),
];
const schedule = { schedules: [{ name: 'nightly', cron: '0 3 * * *' }] };
const versions = (...each: Spec[]) => ({ versions: each });
const first = { version: 1, fields: { id: 'string' } };
const jetStream = { url: 'nats://nats.svc:4222' };
const migrated = (step: Spec) => versions(first, { version: 2, fields: { no: 'string' }, migrate: [step] });

const clusters: RuleExample[] = [
  rule('FlowMeshCluster', '', 0, { good: {}, bad: {}, names: { good: 'main', bad: '1.main' } }),
  rule('FlowMeshCluster', 'spec', 0, {
    good: { replicas: 3, journal: { engine: 'JetStream', jetStream } },
    bad: { replicas: 2 },
  }),
  rule('FlowMeshCluster', 'spec', 1, { before: {}, good: { shards: 1 }, bad: { shards: 2 } }),
  rule('FlowMeshCluster', 'spec', 2, {
    before: {},
    good: { journal: { engine: 'Embedded' } },
    bad: { journal: { engine: 'JetStream', jetStream } },
  }),
  rule('FlowMeshCluster', 'spec', 3, {
    before: { storage: { storageClassName: 'fast' } },
    good: { storage: { storageClassName: 'fast', size: '40Gi' } },
    bad: { storage: { size: '40Gi' } },
  }),
  rule('FlowMeshCluster', 'spec.image', 0, {
    good: { image: { tag: 'v1' } },
    bad: { image: { tag: 'v1', digest: `sha256:${'0'.repeat(64)}` } },
  }),
  text('FlowMeshCluster', 'spec.image.repository', ['registry.example.com:5000/a/b', 'a/b:v1']),
  text('FlowMeshCluster', 'spec.image.tag', ['0.1.0', '-1']),
  text('FlowMeshCluster', 'spec.image.digest', [`sha256:${'a'.repeat(64)}`, 'sha256:abc']),
  text('FlowMeshCluster', 'spec.image.pullSecrets[]', words.object),
  rule('FlowMeshCluster', 'spec.journal', 0, {
    good: { journal: { engine: 'JetStream', jetStream } },
    bad: { journal: { jetStream } },
  }),
  text('FlowMeshCluster', 'spec.journal.jetStream.url', ['tls://nats:4222', 'http://nats:4222'], {
    journal: { engine: 'JetStream' },
  }),
  text('FlowMeshCluster', 'spec.journal.jetStream.credentialsSecret', words.object, {
    journal: { engine: 'JetStream', jetStream },
  }),
  text('FlowMeshCluster', 'spec.storage.size', words.volume),
  text('FlowMeshCluster', 'spec.storage.storageClassName', words.object),
  rule('FlowMeshCluster', 'spec.listeners', 0, {
    good: { listeners: { grpc: { port: 7080 }, http: { port: 7070 } } },
    bad: { listeners: { redis: { port: 7070 } } },
  }),
  rule('FlowMeshCluster', 'spec.tls', 0, {
    good: { tls: { mode: 'CertManager', issuerRef: { name: 'ca' } } },
    bad: { tls: { mode: 'CertManager' } },
  }),
  text('FlowMeshCluster', 'spec.tls.issuerRef.name', words.object, { tls: { mode: 'CertManager' } }),
  rule('FlowMeshCluster', 'spec.allowedNamespaces', 0, {
    good: { allowedNamespaces: { from: 'Selector', selector: { matchLabels: { team: 'a' } } } },
    bad: { allowedNamespaces: { selector: { matchLabels: { team: 'a' } } } },
  }),
  rule('FlowMeshCluster', 'spec.allowedNamespaces.selector.matchExpressions[]', 0, {
    good: {
      allowedNamespaces: {
        from: 'Selector',
        selector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] },
      },
    },
    bad: {
      allowedNamespaces: { from: 'Selector', selector: { matchExpressions: [{ key: 'a', operator: 'In' }] } },
    },
  }),
  text('FlowMeshCluster', 'spec.monitoring.interval', words.duration),
];

const queues: RuleExample[] = [
  rule('Queue', '', 0, { before: {}, good: { queueName: 'example' }, bad: { queueName: 'other' } }),
  rule('Queue', '', 1, {
    good: { deadLetter: { queueName: 'example.dead' } },
    bad: { deadLetter: { queueName: 'example' } },
  }),
  ...clusterRef('Queue'),
  text('Queue', 'spec.queueName', words.name),
  text('Queue', 'spec.delivery.visibilityTimeout', ['12h', '12h1s']),
  text('Queue', 'spec.delivery.timeout', words.duration),
  text('Queue', 'spec.delivery.priorityAging', ['364d24h', '365d1s']),
  rule('Queue', 'spec.delivery.backoff', 0, {
    good: { delivery: { backoff: { initial: '24h', max: '1d' } } },
    bad: { delivery: { backoff: { initial: '1d1s', max: '24h' } } },
  }),
  text('Queue', 'spec.delivery.backoff.initial', words.duration),
  text('Queue', 'spec.delivery.backoff.max', words.duration),
  text('Queue', 'spec.deadLetter.queueName', words.name),
  text('Queue', 'spec.deduplication.window', words.duration),
  text('Queue', 'spec.limits.ratePerKey', words.rate),
  text('Queue', 'spec.limits.rate', words.rate),
  text('Queue', 'spec.schedules[].name', words.label, schedule),
  text('Queue', 'spec.schedules[].cron', ['*/5 0-3 * * MON#1', '0 3 * *'], schedule),
  text('Queue', 'spec.schedules[].timeZone', ['America/Port-au-Prince', 'Europe Berlin'], schedule),
  text('Queue', 'spec.schedules[].catchUp', ['7d', '7d1s'], schedule),
  text('Queue', 'spec.retention.finished', words.duration),
  text('Queue', 'spec.retention.size', words.size),
  text('Queue', 'spec.schemaRef.name', words.object),
  rule('Queue', 'spec.scaling', 0, {
    good: withScaling({ scaleFrom: 2, scaleTo: 2 }),
    bad: withScaling({ scaleFrom: 3, scaleTo: 2 }),
  }),
  text('Queue', 'spec.scaling.targetRef.name', words.object, withScaling({})),
  ...basedOn('Queue', 'spec.scaling.basedOn', 'queue_lag', withScaling),
];

const streams: RuleExample[] = [
  rule('Stream', '', 0, { before: { streamName: 'a' }, good: { streamName: 'a' }, bad: {} }),
  ...clusterRef('Stream'),
  rule('Stream', 'spec', 1, { before: {}, good: { partitions: 5 }, bad: { partitions: 3 } }),
  text('Stream', 'spec.streamName', words.name),
  text('Stream', 'spec.retention.time', words.duration),
  text('Stream', 'spec.retention.size', words.size),
  rule('Stream', 'spec.cleanup', 0, {
    good: { cleanup: { policy: 'Both', minCompactionLag: '1h' } },
    bad: { cleanup: { minCompactionLag: '1h' } },
  }),
  text('Stream', 'spec.cleanup.minCompactionLag', words.duration, { cleanup: { policy: 'Compact' } }),
  text('Stream', 'spec.cleanup.tombstoneRetention', words.duration, { cleanup: { policy: 'Compact' } }),
  text('Stream', 'spec.schemaRef.name', words.object),
  text('Stream', 'spec.consumerGroups[].name', words.name),
  rule('Stream', 'spec.consumerGroups[].scaling', 0, {
    good: withGroup({ scaleFrom: 0, scaleTo: 2 }),
    bad: withGroup({ scaleFrom: 3, scaleTo: 2 }),
  }),
  text('Stream', 'spec.consumerGroups[].scaling.targetRef.name', words.object, withGroup({})),
  ...basedOn('Stream', 'spec.consumerGroups[].scaling.basedOn', 'stream_lag', withGroup),
];

const schemas: RuleExample[] = [
  ...clusterRef('Schema', versions(first)),
  rule('Schema', 'spec.versions', 0, {
    good: versions(first, { ...first, version: 3 }),
    bad: versions({ ...first, version: 3 }, first),
  }),
  rule('Schema', 'spec.versions[].migrate[]', 0, {
    good: migrated({ set: { field: 'no', value: 1 } }),
    bad: migrated({ rename: { from: 'id', to: 'no' }, remove: { field: 'id' } }),
  }),
  rule('Schema', 'spec.versions[].migrate[].rename', 0, {
    good: migrated({ rename: { from: 'id', to: 'no' } }),
    bad: migrated({ rename: { from: 'id', to: 'id' } }),
  }),
];

export const ruleExamples: readonly RuleExample[] = [...clusters, ...queues, ...streams, ...schemas];

/** The object of an example, as a manifest has it. */
export const manifestOf = ({ kind, names }: RuleExample, which: 'before' | 'good' | 'bad', spec: Spec) => ({
  apiVersion: 'flowmesh.io/v1alpha1',
  kind,
  metadata: { name: (which === 'bad' ? names?.bad : names?.good) ?? 'example' },
  spec,
});
