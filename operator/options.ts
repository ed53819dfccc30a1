// What the operator is told: flags, and FLOWMESH_OPERATOR_* for each of them. A flag wins.
import { parseArgs } from 'node:util';
import { LEVELS, type Level } from './log.ts';

export interface OperatorOptions {
  /** Unset: the pod's ServiceAccount, $KUBECONFIG or ~/.kube/config. */
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  /** Empty: all of them. */
  readonly namespaces: readonly string[];
  readonly leaderElection: boolean;
  readonly leaseName: string;
  /** Unset: that of the pod or the context. */
  readonly leaseNamespace: string | undefined;
  readonly metrics: Address | undefined;
  readonly probes: Address | undefined;
  /** Unset: the API server does not ask it about objects. */
  readonly webhook: Address | undefined;
  /** Its Service; its Secret and its configuration are named after that. */
  readonly webhookService: string;
  /** Unset: no external metrics are served. */
  readonly metricsApi: Address | undefined;
  /** Its Service; its Secret is named after that. */
  readonly metricsApiService: string;
  readonly logLevel: Level;
  readonly graceMs: number;
  /** Of the pods of a cluster that names none. */
  readonly image: string;
  readonly clusterDomain: string;
  /** Name of the pod: in events, and in the lease. */
  readonly instance: string;
}

export interface Address {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** Wrong use: the message is for the person who typed it. */
export class UsageError extends Error {}

interface Flag {
  readonly value: string;
  readonly fallback: string;
  readonly help: string;
}

const FLAGS = {
  kubeconfig: {
    value: 'file',
    fallback: '',
    help: 'kubeconfig; default: the pod, $KUBECONFIG, ~/.kube/config',
  },
  context: { value: 'name', fallback: '', help: 'context of the kubeconfig' },
  namespaces: { value: 'a,b', fallback: '', help: 'namespaces to look after; default: all' },
  'leader-elect': { value: 'true|false', fallback: 'true', help: 'act only while holding the lease' },
  'lease-name': { value: 'name', fallback: 'flowmesh-operator', help: 'the lease' },
  'lease-namespace': { value: 'name', fallback: '', help: 'where it is; default: where the pod is' },
  'metrics-address': { value: 'host:port|off', fallback: '0.0.0.0:8080', help: '/metrics' },
  'probe-address': { value: 'host:port|off', fallback: '0.0.0.0:8081', help: '/healthz and /readyz' },
  'webhook-address': { value: 'host:port|off', fallback: 'off', help: '/validate, for the API server' },
  'webhook-service': { value: 'name', fallback: 'flowmesh-operator-webhook', help: 'by which it asks' },
  'metrics-api-address': { value: 'host:port|off', fallback: 'off', help: 'metrics for autoscalers' },
  'metrics-api-service': { value: 'name', fallback: 'flowmesh-operator-metrics-api', help: 'of them' },
  'log-level': { value: 'level', fallback: 'info', help: LEVELS.join(', ') },
  image: { value: 'name', fallback: 'flowmesh:dev', help: 'of pods whose cluster names none' },
  'cluster-domain': { value: 'domain', fallback: 'cluster.local', help: 'of DNS names in the cluster' },
  'grace-seconds': { value: 'n', fallback: '20', help: 'for work under way at a shutdown' },
} as const satisfies Record<string, Flag>;

type FlagName = keyof typeof FLAGS;

export const usage = [
  'usage: flowmesh-operator [flags]',
  ...Object.entries(FLAGS).map(([name, { value, fallback, help }]) => {
    const shown = fallback === '' ? '' : ` (${fallback})`;
    return `  --${`${name} ${value}`.padEnd(32)} ${help}${shown}`;
  }),
].join('\n');

export type Environment = Readonly<Record<string, string | undefined>>;

export function readOptions(args: readonly string[], env: Environment, hostname: string): OperatorOptions {
  const given = flagsIn(args);
  const text = (name: FlagName) =>
    given[name] ??
    env[`FLOWMESH_OPERATOR_${name.toUpperCase().replaceAll('-', '_')}`] ??
    FLAGS[name].fallback;
  const optional = (name: FlagName) => text(name) || undefined;
  return {
    kubeconfig: optional('kubeconfig'),
    context: optional('context'),
    namespaces: text('namespaces')
      .split(',')
      .map((each) => each.trim())
      .filter((each) => each !== ''),
    leaderElection: oneOf('leader-elect', text('leader-elect'), ['true', 'false']) === 'true',
    leaseName: text('lease-name'),
    leaseNamespace: optional('lease-namespace') ?? (env['POD_NAMESPACE'] || undefined),
    metrics: address('metrics-address', text('metrics-address')),
    probes: address('probe-address', text('probe-address')),
    webhook: address('webhook-address', text('webhook-address')),
    webhookService: text('webhook-service'),
    metricsApi: address('metrics-api-address', text('metrics-api-address')),
    metricsApiService: text('metrics-api-service'),
    logLevel: oneOf('log-level', text('log-level'), LEVELS),
    image: text('image'),
    clusterDomain: text('cluster-domain'),
    graceMs: 1000 * wholeNumber('grace-seconds', text('grace-seconds'), 3600),
    instance: env['POD_NAME'] || hostname,
  };
}

function flagsIn(args: readonly string[]): Partial<Record<FlagName, string>> {
  const options = Object.fromEntries(Object.keys(FLAGS).map((name) => [name, { type: 'string' as const }]));
  try {
    return parseArgs({ args: [...args], options, strict: true }).values as Partial<Record<FlagName, string>>;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : `${error}`);
  }
}

function oneOf<const T extends string>(name: string, text: string, values: readonly T[]): T {
  const found = values.find((value) => value === text);
  if (found === undefined) throw new UsageError(`--${name} ${text}: one of ${values.join(', ')}`);
  return found;
}

function wholeNumber(name: string, text: string, max: number): number {
  const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= max)) throw new UsageError(`--${name} ${text}: a whole number from 0 to ${max}`);
  return number;
}

function address(name: string, text: string): Address | undefined {
  if (text === 'off') return undefined;
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(text) ?? [];
  if (port === '') throw new UsageError(`--${name} ${text}: host:port, such as 0.0.0.0:8080, or off`);
  return { host: host.replace(/^\[(.*)\]$/, '$1') || '0.0.0.0', port: wholeNumber(name, port, 65_535) };
}
