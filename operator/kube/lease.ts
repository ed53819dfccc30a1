// Whose lease it is: the decision, pure. Loop and network are in leader.ts.
//   E1. Times that others wrote are never compared with our clock: a lease counts as expired when *we* have
//       seen it unchanged for its whole duration (clocks of two pods may be minutes apart).
//   E2. A lease that was released (no holder) is free at once.
import type { KubeObject, Resource } from './objects.ts';

export interface LeaseObject extends KubeObject {
  spec?: {
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export const LEASES: Resource<LeaseObject> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

/** A lease, and since when (by our clock) it has looked like this. */
export interface SeenLease {
  readonly lease: LeaseObject;
  readonly sinceMs: number;
}

export interface LeaseTerms {
  readonly identity: string;
  readonly durationMs: number;
  /** Monotonic. */
  readonly nowMs: number;
  /** What is written: other tools show it. */
  readonly wallMs: number;
}

export type LeaseDecision =
  | { readonly kind: 'take'; readonly spec: LeaseObject['spec'] }
  | { readonly kind: 'wait'; readonly holder: string };

/** The same lease as before keeps its time (E1). */
export function seeLease(before: SeenLease | undefined, lease: LeaseObject, nowMs: number): SeenLease {
  const same = before?.lease.metadata.resourceVersion === lease.metadata.resourceVersion;
  return before !== undefined && same ? before : { lease, sinceMs: nowMs };
}

export function decideLease(seen: SeenLease | undefined, terms: LeaseTerms): LeaseDecision {
  const spec = seen?.lease.spec;
  const holder = spec?.holderIdentity ?? '';
  const ours = holder === terms.identity;
  if (seen !== undefined && holder !== '' && !ours) {
    const theirsMs = (spec?.leaseDurationSeconds ?? 0) * 1000;
    if (terms.nowMs < seen.sinceMs + theirsMs) return { kind: 'wait', holder };
  }
  const now = microTime(terms.wallMs);
  return {
    kind: 'take',
    spec: {
      holderIdentity: terms.identity,
      leaseDurationSeconds: Math.ceil(terms.durationMs / 1000),
      acquireTime: ours ? (spec?.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (spec?.leaseTransitions ?? 0) + (ours || seen === undefined ? 0 : 1),
    },
  };
}

/** E2: whoever looks next may take it. */
export function releasedSpec(lease: LeaseObject, wallMs: number): LeaseObject['spec'] {
  return { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTime(wallMs) };
}

/** metav1.MicroTime. */
export function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace('Z', '000Z');
}
