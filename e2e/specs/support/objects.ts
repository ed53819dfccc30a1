// Objects of FlowMesh as specs apply them.

interface Declared {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: object;
}

export function declared(
  kind: 'Queue' | 'Stream' | 'FlowMeshCluster',
  name: string,
  spec: object = {},
): Declared {
  return { apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name }, spec };
}

/** A small one, to which queues and streams go that name none. */
export function mainCluster(spec: object = {}): Declared {
  const resources = { requests: { cpu: '50m', memory: '256Mi' }, limits: { memory: '512Mi' } };
  return declared('FlowMeshCluster', 'main', { storage: { size: '1Gi' }, resources, ...spec });
}
