// A Deployment of the FlowMesh image that runs a file of e2e/specs/clients.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { IMAGE, restrictedContainer, restrictedPod } from './data-plane.ts';
import { repository } from './installed.ts';

export interface Workload {
  readonly replicas: number;
  /** Secrets and other sources of the environment. */
  readonly envFrom?: readonly object[];
  readonly env?: Readonly<Record<string, string>>;
  /** A Secret whose keys are files of /tls. */
  readonly tlsSecret?: string;
  /** How long a pod may take to end. */
  readonly graceSeconds?: number;
}

export function workload(name: string, file: string, options: Workload): object {
  const { replicas, envFrom = [], env = {}, tlsSecret, graceSeconds = 30 } = options;
  const text = readFileSync(join(repository, 'e2e/specs/clients', file), 'utf8');
  const flags = ['--conditions=flowmesh-source', '--input-type=module-typescript', '--no-warnings'];
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          automountServiceAccountToken: false,
          // Else a SIGTERM is dropped while the program does not listen to it yet (docs/autoscaling.md).
          shareProcessNamespace: true,
          terminationGracePeriodSeconds: graceSeconds,
          securityContext: restrictedPod,
          containers: [
            {
              name: 'main',
              image: IMAGE,
              imagePullPolicy: 'IfNotPresent',
              command: ['node', ...flags, '-e', text],
              envFrom,
              env: [
                ...Object.entries(env).map(([key, value]) => ({ name: key, value })),
                { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
              ],
              resources: { requests: { cpu: '10m', memory: '64Mi' } },
              securityContext: restrictedContainer,
              volumeMounts:
                tlsSecret === undefined ? [] : [{ name: 'tls', mountPath: '/tls', readOnly: true }],
            },
          ],
          volumes: tlsSecret === undefined ? [] : [{ name: 'tls', secret: { secretName: tlsSecret } }],
        },
      },
    },
  };
}
