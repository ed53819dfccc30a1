// What the pods read at start: one file from one ConfigMap, and Secrets by name.
//   F1. The file depends on the spec alone: no replica count, no peers, no bytes of certificates or tokens.
//       So scaling and renewals never restart a pod.
//   F2. Certificates and tokens are files of mounted Secrets; the data plane reads them again when they
//       change.
import type { V1ConfigMap } from '@kubernetes/client-node';
import { stringify } from 'yaml';
import { canonical, hashOf } from './canonical.ts';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf } from './names.ts';
import type { Built } from './objects.ts';
import { dnsNamesOf } from './services.ts';

export const DATA_DIR = '/var/lib/flowmesh';
export const CONFIG_DIR = '/etc/flowmesh/config';
export const CONFIG_FILE = 'flowmesh.yaml';
export const TLS_DIR = '/etc/flowmesh/tls';
export const TOKEN_DIR = '/etc/flowmesh/token';
export const JOURNAL_DIR = '/etc/flowmesh/journal';

/** All addresses, of both families. */
const ANY_HOST = '::';

export function serveConfig(cluster: ResolvedCluster): Record<string, unknown> {
  const { journal, listeners, shards, autoCreate, tls } = cluster;
  return canonical({
    dataDir: DATA_DIR,
    shards,
    autoCreate,
    logLevel: 'info',
    listeners: Object.fromEntries(listeners.map(({ name, port }) => [name, { host: ANY_HOST, port }])),
    allowedHosts: dnsNamesOf(cluster),
    ...(tls.mode === 'Disabled'
      ? {}
      : {
          tls: {
            certFile: `${TLS_DIR}/tls.crt`,
            keyFile: `${TLS_DIR}/tls.key`,
            // Whoever has a certificate of this authority gets in. Our own signs for this cluster alone;
            // that of an issuer signs for others, too, so with cert-manager clients show the token, and only
            // KEDA, which cannot, gets in by a certificate.
            caFile: `${TLS_DIR}/ca.crt`,
            ...(tls.mode === 'Operator' ? {} : { caTrustedFor: 'Scaling' }),
          },
        }),
    tokenFile: `${TOKEN_DIR}/token`,
    ...(journal.engine === 'JetStream'
      ? {
          journal: {
            engine: 'JetStream',
            url: journal.url,
            credentialsFile:
              journal.credentialsSecret === undefined ? undefined : `${JOURNAL_DIR}/nats.creds`,
          },
        }
      : {}),
  });
}

export function configMap(cluster: ResolvedCluster): Built<V1ConfigMap> {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(cluster, cluster.names.configMap),
    data: { [CONFIG_FILE]: stringify(serveConfig(cluster), { lineWidth: 0 }) },
  };
}

/** Changes exactly when running pods would read something else at their next start. */
export function configHash(cluster: ResolvedCluster): string {
  const { names, journal, tls } = cluster;
  const secrets = [
    names.tokenSecret,
    ...(tls.mode === 'Disabled' ? [] : [names.tlsSecret]),
    ...(journal.engine === 'JetStream' ? [journal.credentialsSecret] : []),
  ];
  return hashOf({ config: serveConfig(cluster), secrets });
}
