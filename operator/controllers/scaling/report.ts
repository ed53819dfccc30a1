// What came of the scaling of an object, for whoever writes its status. Kept in memory.
//   R1. What is told is about one generation of spec; of another one it says nothing.
//   R2. Another state is told at once, other words and figures at most every SHOWN_MS, and why so many
//       workers are wanted only with what it explains: its figures move all the time.

import type { ConditionStatus } from '../../kube/conditions.ts';
import type { Source } from '../../kube/controller.ts';
import { type Key, type KubeObject, keyOf } from '../../kube/objects.ts';

/** Of ScalingReady; docs/reference/controllers.md has the cures. */
export const SCALING_REASONS = [
  'AdviceUnknown',
  'CertificatesPending',
  'ClusterNotServing',
  'HpaNotActive',
  'KedaNotReady',
  'MetricsApiTaken',
  'NameTaken',
  'NoScaler',
  'NotConfigured',
  'Paused',
  'Pending',
  'Refused',
  'ScaleToZeroNotServed',
  'Scaled',
  'TargetNotFound',
  'TargetNotSupported',
  'TargetTaken',
  'TlsDisabled',
] as const;
export type ScalingReason = (typeof SCALING_REASONS)[number];

export interface ScalingVerdict {
  readonly status: ConditionStatus;
  readonly reason: ScalingReason;
  readonly message: string;
}

/** Of one target, for status.scaling. */
export interface ScalingShown {
  /** Of a stream. */
  readonly group?: string;
  /** KEDA, HPA or Direct; unset while nobody scales. */
  readonly by?: string;
  readonly wanted?: number;
  readonly reason?: string;
  readonly why?: string;
}

export interface ScalingReport {
  readonly generation: number;
  readonly verdict: ScalingVerdict;
  readonly shown: readonly ScalingShown[];
}

export const SHOWN_MS = 30_000;

interface Kept {
  readonly report: ScalingReport;
  readonly uid: string;
  readonly atMs: number;
}

/** Of the objects of one kind. */
export class ScalingReports {
  readonly #monotonicMs: () => number;
  readonly #kept = new Map<Key, Kept>();
  #add: (key: Key) => void = () => {};

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  of({ metadata }: KubeObject): ScalingReport | undefined {
    const { uid, generation = 1 } = metadata;
    const known = this.#kept.get(keyOf(metadata));
    return known?.uid === uid && known?.report.generation === generation ? known.report : undefined;
  }

  /** Answers whether it is told. */
  tell({ metadata }: KubeObject, report: ScalingReport): boolean {
    const { uid = '' } = metadata;
    const key = keyOf(metadata);
    const known = this.#kept.get(key);
    const nowMs = this.#monotonicMs();
    if (known?.uid === uid) {
      // R2.
      if (withoutWhy(known.report) === withoutWhy(report)) return false;
      if (stateOf(known.report) === stateOf(report) && nowMs - known.atMs < SHOWN_MS) return false;
    }
    this.#kept.set(key, { report, uid, atMs: nowMs });
    this.#add(key);
    return true;
  }

  forget(key: Key): void {
    this.#kept.delete(key);
  }

  /** Brings an object back that was told of. */
  source(): Source {
    return {
      synced: Promise.resolve(),
      start: (add) => {
        this.#add = add;
        return () => {
          this.#add = () => {};
        };
      },
    };
  }
}

const withoutWhy = (report: ScalingReport) =>
  JSON.stringify(report, (name, value) => (name === 'why' ? undefined : value));

const stateOf = ({ generation, verdict, shown }: ScalingReport) =>
  JSON.stringify([generation, verdict.status, verdict.reason, shown.map(({ group, by }) => [group, by])]);

/** The worst of an object's targets speaks for it. */
export function worstOf(verdicts: readonly (ScalingVerdict & { readonly group?: string })[]): ScalingVerdict {
  const rank = { False: 0, Unknown: 1, True: 2 } as const;
  const [worst] = [...verdicts].sort((a, b) => rank[a.status] - rank[b.status]);
  if (worst === undefined)
    return { status: 'False', reason: 'NotConfigured', message: 'spec does not ask for it' };
  const said = verdicts
    .filter(({ status }) => status === worst.status)
    .map(({ group, message }) => (group === undefined ? message : `group ${group}: ${message}`));
  return { status: worst.status, reason: worst.reason, message: said.join('; ') };
}
