// The pod of the data plane as we want it, before `podTemplate` is merged in (pod-template.ts).
//   D1. It meets the `restricted` Pod Security profile, with a root file system that nobody can write.
//   D2. Nothing in it depends on replicas, peers or the content of Secrets.
//   D3. It is taken out of the Services before it is asked to stop, and has time to finish what it holds.
import type { V1Container, V1PodTemplateSpec, V1Probe, V1Volume } from '@kubernetes/client-node';
import type { ResolvedCluster } from './cluster.ts';
import {
  CONFIG_DIR,
  CONFIG_FILE,
  configHash,
  DATA_DIR,
  JOURNAL_DIR,
  TLS_DIR,
  TOKEN_DIR,
} from './configuration.ts';
import { CONTAINER, FIELD_PREFIX, labelsOf, selectorLabels } from './names.ts';
import type { Wire } from './objects.ts';

/** Of the volume and of its claim: `data-main-flowmesh-0`. */
export const DATA_VOLUME = 'data';
export const CONFIG_HASH = `${FIELD_PREFIX}/config-hash`;
/** "nonroot" of most minimal images. */
const USER = 65532;
/** Until every node has heard that the pod takes no more connections. */
const UNROUTE_SECONDS = 5;
export const GRACE_SECONDS = 60;
/** A journal that is replayed at 200 MB/s may be very large before this is too short. */
const START_SECONDS_MAX = 900;

export function basePodTemplate(cluster: ResolvedCluster): Wire<V1PodTemplateSpec> {
  const { image } = cluster;
  return {
    metadata: {
      labels: labelsOf(cluster.name, cluster.version),
      annotations: {
        [CONFIG_HASH]: configHash(cluster),
        'kubectl.kubernetes.io/default-container': CONTAINER,
      },
    },
    spec: {
      serviceAccountName: cluster.names.serviceAccount,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: GRACE_SECONDS,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: USER,
        runAsGroup: USER,
        fsGroup: USER,
        // A volume with millions of files would take minutes at each start.
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
      },
      topologySpreadConstraints: ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'].map(
        (topologyKey) => ({
          maxSkew: 1,
          topologyKey,
          whenUnsatisfiable: 'ScheduleAnyway',
          labelSelector: { matchLabels: selectorLabels(cluster.name) },
        }),
      ),
      ...(image.pullSecrets.length > 0
        ? { imagePullSecrets: image.pullSecrets.map((name) => ({ name })) }
        : {}),
      containers: [container(cluster)],
      volumes: volumes(cluster),
    },
  };
}

function container(cluster: ResolvedCluster): Wire<V1Container> {
  const { journal, image, tls } = cluster;
  const probe = probeOver(tls.mode === 'Disabled' ? 'HTTP' : 'HTTPS');
  return {
    name: CONTAINER,
    image: image.reference,
    imagePullPolicy: image.pullPolicy,
    args: ['serve', '--config', `${CONFIG_DIR}/${CONFIG_FILE}`],
    env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    ports: cluster.listeners.map(({ name, port }) => ({ name, containerPort: port, protocol: 'TCP' })),
    // From zero to ready in the second in which it is.
    startupProbe: probe('/readyz', { periodSeconds: 1, failureThreshold: START_SECONDS_MAX }),
    readinessProbe: probe('/readyz', { periodSeconds: 5, failureThreshold: 2 }),
    livenessProbe: probe('/healthz', { periodSeconds: 10, failureThreshold: 3 }),
    lifecycle: { preStop: { sleep: { seconds: UNROUTE_SECONDS } } },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
    },
    volumeMounts: [
      { name: DATA_VOLUME, mountPath: DATA_DIR },
      { name: 'config', mountPath: CONFIG_DIR, readOnly: true },
      ...(tls.mode === 'Disabled' ? [] : [{ name: 'tls', mountPath: TLS_DIR, readOnly: true }]),
      { name: 'token', mountPath: TOKEN_DIR, readOnly: true },
      ...(journal.engine === 'JetStream' && journal.credentialsSecret !== undefined
        ? [{ name: 'journal', mountPath: JOURNAL_DIR, readOnly: true }]
        : []),
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
}

const probeOver =
  (scheme: 'HTTP' | 'HTTPS') =>
  (path: string, pace: Pick<V1Probe, 'periodSeconds' | 'failureThreshold'>): Wire<V1Probe> => ({
    httpGet: { path, port: 'http', scheme },
    timeoutSeconds: 5,
    ...pace,
  });

function volumes({ names, journal, tls }: ResolvedCluster): Wire<V1Volume>[] {
  return [
    { name: 'config', configMap: { name: names.configMap } },
    ...(tls.mode === 'Disabled' ? [] : [{ name: 'tls', secret: { secretName: names.tlsSecret } }]),
    { name: 'token', secret: { secretName: names.tokenSecret } },
    ...(journal.engine === 'JetStream' && journal.credentialsSecret !== undefined
      ? [{ name: 'journal', secret: { secretName: journal.credentialsSecret } }]
      : []),
    { name: 'tmp', emptyDir: { sizeLimit: '64Mi' } },
  ];
}
