// Real KEDA, operator and metrics adapter, in front of a scaler.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Authority } from '../../test/api/issued.ts';
import { catalog } from '../build/catalog.ts';
import { repository } from './support/installed.ts';
import { installKeda, kedaLog, uninstallKeda } from './support/keda.ts';
import { createNamespace, type Namespace } from './support/kubectl.ts';
import { spec } from './support/spec.ts';
import { workload } from './support/workload.ts';

const NEEDS = ['needs:kubelet', 'needs:keda'] as const;
/** Written anew where FLOWMESH_KEDA_RECORD is set. */
const RECORDED = join(repository, 'test/scaling/keda-messages.json');
const PATIENCE = { timeout: 120_000, interval: 500 };

beforeAll(() => installKeda(), 300_000);
afterAll(() => uninstallKeda(), 300_000);

describe('what KEDA sends to a scaler', () => {
  let space: Namespace;
  const authority = new Authority('the cluster');
  beforeAll(async () => {
    space = await createNamespace('keda-recorder');
  });
  afterAll(async () => {
    // While KEDA is there: its objects have finalizers.
    await space?.kubectl('delete', 'scaledobjects', '--all', '--timeout=60s');
    await space?.remove();
  });

  interface Sent {
    readonly path: string;
    readonly commonName: string;
    readonly headers: Record<string, string>;
    readonly message: object;
    readonly base64: string;
  }

  /** Of every method and metric the first message. */
  async function sent(): Promise<Sent[]> {
    const log = await space.kubectl('logs', 'deployment/recorder');
    const all: Sent[] = log.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
    const kindOf = ({ path, message }: Sent) => `${path} ${/"metric":"\w+"/.exec(JSON.stringify(message))}`;
    const byKind = Map.groupBy(all, kindOf);
    return [...byKind].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, each]) => each.slice(0, 1));
  }

  /** The same in every run: without its namespace, and without the order of a map in the bytes. */
  const said = ({ path, commonName, message }: Sent) => {
    const text = JSON.stringify(message).replaceAll(/keda-recorder-\w+/g, 'keda-recorder');
    return { path, commonName, message: JSON.parse(text) };
  };

  spec('is what test/scaling replays against ours', NEEDS, async () => {
    const host = `recorder.${space.name}.svc`;
    const server = authority.issue('recorder', undefined, [host]);
    const client = authority.issue('flowmesh-scaler');
    await space.apply(
      secret('recorder', { 'ca.crt': authority.cert, 'tls.crt': server.cert, 'tls.key': server.key }),
      secret('main-flowmesh-scaler', {
        'ca.crt': authority.cert,
        'tls.crt': client.cert,
        'tls.key': client.key,
      }),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'recorder' },
        spec: { clusterIP: 'None', selector: { app: 'recorder' }, ports: [{ port: 7070 }] },
      },
      workload('recorder', 'recorder.ts', { replicas: 1, tlsSecret: 'recorder' }),
      workload('worker', 'recorder.ts', { replicas: 0, tlsSecret: 'recorder' }),
    );
    await space.kubectl('rollout', 'status', 'deployment/recorder', '--timeout=60s');
    const metadata = { scalerAddress: `${host}:7070`, enableTLS: 'true', queue: 'orders' };
    const authenticationRef = { name: 'main-flowmesh-scaler' };
    const trigger = (metric: string) => ({
      type: 'external-push',
      name: metric,
      metricType: 'AverageValue',
      authenticationRef,
      metadata: { ...metadata, metric },
    });
    await space.apply(
      {
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'TriggerAuthentication',
        metadata: { name: 'main-flowmesh-scaler' },
        spec: {
          secretTargetRef: [
            { parameter: 'caCert', name: 'main-flowmesh-scaler', key: 'ca.crt' },
            { parameter: 'tlsClientCert', name: 'main-flowmesh-scaler', key: 'tls.crt' },
            { parameter: 'tlsClientKey', name: 'main-flowmesh-scaler', key: 'tls.key' },
          ],
        },
      },
      {
        apiVersion: 'keda.sh/v1alpha1',
        kind: 'ScaledObject',
        metadata: { name: 'worker' },
        spec: {
          scaleTargetRef: { name: 'worker' },
          minReplicaCount: 0,
          maxReplicaCount: 3,
          pollingInterval: 5,
          triggers: [trigger('lag'), trigger('demand')],
        },
      },
    );
    const methods = ['GetMetricSpec', 'GetMetrics', 'IsActive', 'StreamIsActive', 'StreamMetricSpec'];
    const paths = methods.map((method) => `/externalscaler.ExternalScaler/${method}`);
    await expect
      .poll(async () => (await sent()).map(({ path }) => path), PATIENCE)
      .toEqual(paths.flatMap((path) => [path, path]))
      .catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await kedaLog()}`);
      });
    const all = await sent();
    if (process.env['FLOWMESH_KEDA_RECORD'] !== undefined) record(all);
    const { messages } = JSON.parse(readFileSync(RECORDED, 'utf8'));
    expect(all.map(said)).toEqual(messages.map(said));
  });

  function record(messages: readonly Sent[]): void {
    const text = JSON.stringify({ keda: catalog.keda.version, messages }, null, 2);
    writeFileSync(RECORDED, `${text}\n`);
  }

  const secret = (name: string, stringData: Record<string, string>) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    stringData,
  });
});
