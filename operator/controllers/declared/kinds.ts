// What queues, streams and schemas have in common for the operator, and what each kind brings.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Condition } from '../../kube/conditions.ts';
import type { KubeObject, Resource } from '../../kube/objects.ts';
import type { Scaling } from '../../resources/scaling/target.ts';
import type { ScalingShown } from '../scaling/report.ts';
import type { Connection } from './connection.ts';
import type { Kind, Summaries } from './plane.ts';

export interface DeclaredObject extends KubeObject {
  spec: {
    clusterRef?: { name: string; namespace?: string };
    deletionPolicy?: 'Retain' | 'DeleteIfEmpty' | 'Delete';
    adoptionPolicy?: 'IfIdentical' | 'Always' | 'Never';
    schemaRef?: { name: string; version?: number };
    /** Of a schema. */
    versions?: readonly { version: number }[];
  };
  status?: DeclaredStatus;
}

export interface DeclaredStatus {
  observedGeneration?: number;
  conditions?: Condition[];
  oldestReadyAt?: string;
  figures?: object;
  latestVersion?: number;
  /** Of a stream, by group. */
  scaling?: ScalingShown | readonly ScalingShown[];
  effective?: { clusterRef?: object; schemaRef?: { name?: string } };
}

/** What a declaration came to. */
export interface Declaration {
  readonly result: string;
  readonly changes: readonly pb.FieldChange[];
  readonly drifted: boolean;
  /** For status.effective. */
  readonly effective: object;
  /** Until the first list has them; unset: its kind has none. */
  readonly figures?: object;
  /** Of a schema. */
  readonly latestVersion?: number;
}

export interface DeclaredKind<T extends DeclaredObject = DeclaredObject, K extends Kind = Kind> {
  readonly kind: K;
  readonly resource: Resource<T>;
  /** In the data plane. */
  nameOf(object: T): string;
  /** Fields of its status that hold whatever the data plane says. `users` is how many objects refer to it. */
  always(name: string, users: number): object;
  declare(
    connection: Connection,
    object: T,
    claim: { owner: pb.OwnerInput; generation: number; adoption: string },
    signal: AbortSignal,
  ): Promise<Declaration>;
  remove(
    connection: Connection,
    request: { name: string; ifEmpty: boolean; owner: pb.OwnerInput },
    signal: AbortSignal,
  ): Promise<unknown>;
  /** `shown` is what status says now. */
  figures?(summary: Summaries[K], shown: object | undefined, nowMs: number): object;
  /** 0: nothing waits. */
  oldestReadyAtMs?(summary: Summaries[K]): number;
  /** What it asks to be scaled; of a stream, by consumer group. */
  scaled?(object: T): readonly { readonly group?: string; readonly scaling: Scaling }[];
}

/** Counts to two significant digits, as ListFigures gives them. */
export function twoDigits(count: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))) - 1);
  return Math.floor(count / unit) * unit;
}
