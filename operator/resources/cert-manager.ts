// The certificate of the pods, asked for from cert-manager. It writes the Secret that the pods mount, and the
// operator takes `ca.crt` for the binding Secret from there.

import { LEAF_DAYS } from './certificate-plan.ts';
import type { ResolvedCluster } from './cluster.ts';
import { metadataOf } from './names.ts';
import type { KubernetesObject } from './objects.ts';
import { dnsNamesOf } from './services.ts';

export const CERT_MANAGER_API = 'cert-manager.io/v1';

type Certificate = KubernetesObject & { spec: Record<string, unknown> };

export function certificate(cluster: ResolvedCluster): Certificate | undefined {
  const { names, tls } = cluster;
  if (tls.mode !== 'CertManager' || tls.issuerRef === undefined) return undefined;
  return {
    apiVersion: CERT_MANAGER_API,
    kind: 'Certificate',
    metadata: metadataOf(cluster, names.certificate),
    spec: {
      secretName: names.tlsSecret,
      issuerRef: { ...tls.issuerRef },
      dnsNames: certificateNames(cluster),
      duration: `${LEAF_DAYS * 24}h`,
      renewBefore: `${(LEAF_DAYS / 3) * 24}h`,
      usages: ['digital signature', 'key encipherment', 'server auth', 'client auth'],
      privateKey: { algorithm: 'ECDSA', size: 256, rotationPolicy: 'Always' },
    },
  };
}

/** `localhost`: for kubectl port-forward. */
export const certificateNames = (cluster: ResolvedCluster): string[] => [...dnsNamesOf(cluster), 'localhost'];
