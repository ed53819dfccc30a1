// The data planes of all clusters that serve or that objects refer to, and what was declared there.
//   L1. One plane for each cluster, made when it or the first object needs it, closed when the cluster is
//       gone, stopped or replaced by another one of its name, or when nobody leads any more.
//   L2. What this process has declared is remembered by uid, until something says that it is otherwise.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Source } from '../../kube/controller.ts';
import type { Informer } from '../../kube/informer.ts';
import { isTerminating, type Key, keyOf } from '../../kube/objects.ts';
import type { KubeLog } from '../../kube/telemetry.ts';
import type { Runtime } from '../../runtime.ts';
import { dial } from './connection.ts';
import type { ResolveEndpoint } from './endpoint.ts';
import type { DeclaredObject } from './kinds.ts';
import { type Kind, Plane, type PlaneTimes } from './plane.ts';
import type { ClusterObject } from './reference.ts';

export interface PlanesParts {
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly clusters: Informer<ClusterObject>;
  readonly resolve: ResolveEndpoint;
  readonly times: PlaneTimes;
}

/** The objects of a kind that refer to data planes. */
export interface Referring {
  readonly kind: Kind;
  /** Those of a cluster; of one name there, if there is one. */
  objects(clusterKey: Key, name?: string): readonly DeclaredObject[];
  /** Who declares them hears of declarations as well, all others of figures only. */
  readonly declares: boolean;
}

interface Declared {
  readonly generation: number;
  readonly atMs: number;
}

export class Planes {
  readonly #p: PlanesParts;
  readonly #planes = new Map<Key, { plane: Plane; uid: string; generation: number }>();
  readonly #referring = new Set<{ readonly of: Referring; readonly add: (key: Key) => void }>();
  readonly #declared = new Map<string, Declared>();
  /** Brings a cluster back. */
  #addCluster: ((key: Key) => void) | undefined;

  get clusters(): Informer<ClusterObject> {
    return this.#p.clusters;
  }

  constructor(parts: PlanesParts) {
    this.#p = parts;
    parts.clusters.onChange(({ kind, key, object }) => {
      const known = this.#planes.get(key);
      if (known === undefined) return;
      const isUseless = kind === 'deleted' || isTerminating(object) || object.spec.replicas === 0;
      if (isUseless || object.metadata.uid !== known.uid) this.#close(key);
      else if (object.metadata.generation !== known.generation) {
        known.generation = object.metadata.generation ?? 0;
        if (known.plane.state !== 'up') known.plane.reconnect();
      }
    });
  }

  /** Brings objects back when their data plane says something. */
  source(of: Referring): Source {
    return {
      synced: Promise.resolve(),
      start: (add) => {
        const one = { of, add };
        this.#referring.add(one);
        return () => {
          this.#referring.delete(one);
          this.#closeUnlessUsed();
        };
      },
    };
  }

  /** Brings clusters back when their data plane says something else of itself. */
  clusterSource(): Source {
    return {
      synced: Promise.resolve(),
      start: (add) => {
        this.#addCluster = add;
        return () => {
          this.#addCluster = undefined;
          this.#closeUnlessUsed();
        };
      },
    };
  }

  #closeUnlessUsed(): void {
    if (this.#referring.size > 0 || this.#addCluster !== undefined) return;
    for (const key of [...this.#planes.keys()]) this.#close(key);
  }

  /** L1 */
  of(cluster: ClusterObject): Plane {
    const key = keyOf(cluster.metadata);
    const { uid = '', generation = 0 } = cluster.metadata;
    const known = this.#planes.get(key);
    if (known?.uid === uid) return known.plane;
    this.#close(key);
    const { runtime, log, clusters, resolve, times } = this.#p;
    const plane = new Plane({
      runtime,
      log: log.child({ cluster: key }),
      times,
      connect: async (signal) =>
        dial(await resolve(clusters.get(key) ?? cluster, signal), () => runtime.wallMs()),
      events: {
        changed: (kind, name) => this.#changed(key, kind, name),
        changedItself: () => this.#addCluster?.(key),
        told: (change) => this.#told(key, change),
      },
    });
    this.#planes.set(key, { plane, uid, generation });
    return plane;
  }

  declared({ metadata }: DeclaredObject): void {
    const { uid = '', generation = 1 } = metadata;
    this.#declared.set(uid, { generation, atMs: this.#p.runtime.monotonicMs() });
  }

  forget(uid: string | undefined): void {
    this.#declared.delete(uid ?? '');
  }

  /** Whether what was declared stands, as far as `plane` knows. */
  isAsDeclared(object: DeclaredObject, kind: Kind, name: string, plane: Plane): boolean {
    const { uid = '', generation = 1 } = object.metadata;
    const known = this.#declared.get(uid);
    if (known === undefined || known.generation !== generation) return false;
    if (plane.listedAtMs <= known.atMs) return true;
    const summary = plane.summary(kind, name);
    return summary?.ownerUid === uid && summary.generation === generation && !summary.drifted;
  }

  #changed(clusterKey: Key, kind?: Kind, name?: string): void {
    for (const { of, add } of this.#referring) {
      if (kind !== undefined && of.kind !== kind) continue;
      for (const { metadata } of of.objects(clusterKey, name)) add(keyOf(metadata));
    }
  }

  #told(clusterKey: Key, { change, kind, name, owner, generation, drifted }: pb.AdminChange): void {
    const referring = [...this.#referring].find(({ of }) => of.declares && of.kind === kind);
    for (const { metadata } of referring?.of.objects(clusterKey, name) ?? []) {
      const known = this.#declared.get(metadata.uid ?? '');
      const isOwn = owner?.uid === metadata.uid && !drifted && change !== 'deleted';
      // Our own declaration, told back to us, or one that is still on its way.
      if (isOwn && (known === undefined || known.generation <= generation)) continue;
      this.forget(metadata.uid);
      referring?.add(keyOf(metadata));
    }
  }

  #close(key: Key): void {
    this.#planes.get(key)?.plane.close();
    this.#planes.delete(key);
  }
}
