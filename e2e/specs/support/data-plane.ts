// A data plane as plain Kubernetes objects: what pods of FlowMesh need, before any operator.

export const IMAGE = process.env['FLOWMESH_E2E_IMAGE'] ?? 'e2e.local/flowmesh:test';
const USER = 65_532;
const GRPC = 7070;
const HTTP = 7080;
export const ports = { grpc: GRPC, http: HTTP } as const;

export const restrictedPod = {
  runAsNonRoot: true,
  runAsUser: USER,
  runAsGroup: USER,
  fsGroup: USER,
  seccompProfile: { type: 'RuntimeDefault' },
};
export const restrictedContainer = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
};

/** A StatefulSet `name` of one pod with a volume of `size`, its Service and its configuration. */
export function dataPlane(name: string, size = '1Gi'): object[] {
  const labels = { app: name };
  const probe = (path: string) => ({ httpGet: { path, port: HTTP }, periodSeconds: 1 });
  const container = {
    name: 'flowmesh',
    image: IMAGE,
    imagePullPolicy: 'IfNotPresent',
    args: ['serve', '--config', '/config/flowmesh.yaml'],
    ports: [{ containerPort: GRPC }, { containerPort: HTTP }],
    startupProbe: { ...probe('/readyz'), failureThreshold: 120 },
    readinessProbe: probe('/readyz'),
    livenessProbe: { ...probe('/healthz'), periodSeconds: 10, failureThreshold: 6 },
    resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '512Mi' } },
    securityContext: restrictedContainer,
    volumeMounts: [
      { name: 'data', mountPath: '/data' },
      { name: 'config', mountPath: '/config', readOnly: true },
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
  const claim = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: size } } };
  const host = '0.0.0.0';
  const listeners = { grpc: { host, port: GRPC }, http: { host, port: HTTP } };
  const config = { dataDir: '/data', autoCreate: true, insecure: true, listeners };
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name },
      data: { 'flowmesh.yaml': JSON.stringify(config) },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: {
        selector: labels,
        ports: [
          { name: 'grpc', port: GRPC },
          { name: 'http', port: HTTP },
        ],
      },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name },
      spec: {
        serviceName: name,
        replicas: 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            securityContext: restrictedPod,
            containers: [container],
            volumes: [
              { name: 'tmp', emptyDir: { sizeLimit: '64Mi' } },
              { name: 'config', configMap: { name } },
            ],
          },
        },
        volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: claim }],
      },
    },
  ];
}

/** A pod without ports that waits for `exec`: a client inside the cluster. */
export function clientPod(name: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      securityContext: restrictedPod,
      containers: [
        {
          name: 'client',
          image: IMAGE,
          imagePullPolicy: 'IfNotPresent',
          command: ['node', '-e', 'setInterval(() => {}, 1e9)'],
          securityContext: restrictedContainer,
        },
      ],
    },
  };
}
