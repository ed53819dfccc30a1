// Fields of a valid resource that are accepted and have no effect, so that one manifest fits all versions and
// all places.
//   N1. `unserved`: in this version, wherever it runs.
//   N2. `clusterOnly`: where no operator reads it, that is on a laptop and through `flowmesh apply`.
import type { FieldProblem } from './problems.ts';
import type { FlowMeshClusterSpec, Resource } from './types.ts';
import type { Path } from './yaml-source.ts';

export type Engine = NonNullable<NonNullable<FlowMeshClusterSpec['journal']>['engine']>;

/** Those that a data plane of this version starts with. */
export const ENGINES: readonly Engine[] = ['Embedded'];

const PAUSED = 'flowmesh.io/paused';

export function unserved(resource: Resource): FieldProblem[] {
  switch (resource.kind) {
    case 'Queue':
      return [];
    case 'Stream': {
      const { consumerGroups = [] } = resource.spec;
      return consumerGroups.flatMap(({ startFrom }, index) => {
        const latest = startFrom === 'Latest' || undefined;
        return notYet(['consumerGroups', index, 'startFrom'], latest, 'its first member decides');
      });
    }
    case 'Schema':
      return resource.spec.versions.flatMap(({ migrate }, index) =>
        notYet(['versions', index, 'migrate'], migrate, 'payloads are not migrated'),
      );
    case 'FlowMeshCluster': {
      const { engine = 'Embedded' } = resource.spec.journal ?? {};
      return notYet(
        ['journal', 'engine'],
        ENGINES.includes(engine) ? undefined : engine,
        'no pod is started',
      );
    }
  }
}

export function clusterOnly(resource: Resource): FieldProblem[] {
  const annotations = resource.metadata.annotations ?? {};
  const paused = Object.hasOwn(annotations, PAUSED) ? annotations[PAUSED] : undefined;
  const pause = elsewhere(['metadata', 'annotations', PAUSED], paused);
  if (resource.kind === 'FlowMeshCluster') {
    const message = 'is made by the operator; here shards and ports are options of flowmesh dev';
    return [{ path: [], message, cure: harmless }, ...pause];
  }
  const { clusterRef, deletionPolicy, adoptionPolicy } = resource.spec;
  return [
    ...elsewhere(['spec', 'clusterRef', 'namespace'], clusterRef?.namespace),
    ...elsewhere(['spec', 'deletionPolicy'], deletionPolicy),
    ...elsewhere(['spec', 'adoptionPolicy'], adoptionPolicy),
    ...scaledWorkloads(resource),
    ...pause,
  ];
}

/** How many are wanted is computed everywhere. */
function scaledWorkloads(resource: Resource): FieldProblem[] {
  if (resource.kind === 'Queue')
    return elsewhere(['spec', 'scaling', 'targetRef'], resource.spec.scaling?.targetRef);
  if (resource.kind !== 'Stream') return [];
  return (resource.spec.consumerGroups ?? []).flatMap(({ scaling }, index) =>
    elsewhere(['spec', 'consumerGroups', index, 'scaling', 'targetRef'], scaling?.targetRef),
  );
}

const harmless = 'it does no harm here';

function notYet(path: Path, value: unknown, effect: string): FieldProblem[] {
  if (value === undefined) return [];
  const message = `not served in this version: ${effect}`;
  return [{ path: ['spec', ...path], message, cure: harmless, of: 'key' }];
}

function elsewhere(path: Path, value: unknown): FieldProblem[] {
  if (value === undefined) return [];
  return [{ path, message: 'has an effect in a cluster only', cure: harmless, of: 'key' }];
}
