// What queues and streams have in common for the operator, and what each kind brings.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Condition } from '../../kube/conditions.ts';
import type { KubeObject, Resource } from '../../kube/objects.ts';
import type { Connection } from './connection.ts';
import type { Kind, Summaries } from './plane.ts';

export interface DeclaredObject extends KubeObject {
  spec: {
    clusterRef?: { name: string; namespace?: string };
    deletionPolicy?: 'Retain' | 'DeleteIfEmpty' | 'Delete';
    adoptionPolicy?: 'IfIdentical' | 'Always' | 'Never';
    schemaRef?: unknown;
  };
  status?: DeclaredStatus;
}

export interface DeclaredStatus {
  observedGeneration?: number;
  conditions?: Condition[];
  oldestReadyAt?: string;
  figures?: object;
  effective?: object;
}

/** What a declaration came to. */
export interface Declaration {
  readonly result: string;
  readonly changes: readonly pb.FieldChange[];
  readonly drifted: boolean;
  /** For status.effective. */
  readonly effective: object;
  /** Until the first list has them. */
  readonly figures: object;
}

export interface DeclaredKind<T extends DeclaredObject = DeclaredObject, K extends Kind = Kind> {
  readonly kind: K;
  readonly resource: Resource<T>;
  /** In the data plane. */
  nameOf(object: T): string;
  /** The field of status that says it. */
  readonly nameField: string;
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
  figures(summary: Summaries[K]): object;
  oldestReadyAtMs(summary: Summaries[K]): number;
  /** Whether it asks for scaling. */
  scales(object: T): boolean;
}

/** Counts to two significant digits, as ListFigures gives them. */
export function twoDigits(count: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))) - 1);
  return Math.floor(count / unit) * unit;
}
