// The certificate that KEDA shows, in the namespace of the workload: made when the first object there needs
// it, renewed as leaves of the cluster are, and the TriggerAuthentication beside it.
//   A1. The key of the authority never leaves its own Secret; without it there is nothing to issue with, and
//       it is waited for.
import type { Writer } from '../../kube/apply.ts';
import type { Informer } from '../../kube/informer.ts';
import { type KubeObject, keyOf, type Resource } from '../../kube/objects.ts';
import { type KeySource, renewClient } from '../../resources/certificates.ts';
import type { ResolvedCluster } from '../../resources/cluster.ts';
import {
  accessCertificate,
  accessName,
  accessSecret,
  SCALER,
  triggerAuthentication,
} from '../../resources/scaling/scaler-access.ts';
import type { ScalingOwner } from '../../resources/scaling/target.ts';
import { CERTIFICATES, SECRETS, type Secret, textOf } from '../cluster/kinds.ts';
import { isOurs, TRIGGER_AUTHENTICATIONS } from './kinds.ts';

export interface AccessParts {
  readonly writer: Writer;
  readonly keys: KeySource;
  readonly wallMs: () => number;
  /** With the labels of clusters. */
  readonly secrets: Informer<Secret>;
  /** For what the informer lacks. */
  readonly readSecret: (
    at: { name: string; namespace: string },
    signal: AbortSignal,
  ) => Promise<Secret | undefined>;
  readonly triggerAuthentications: Informer;
  /** Undefined, or not served: there is no cert-manager. */
  readonly certificates: Informer | undefined;
}

/** Undefined: all is there. */
export type AccessObstacle = string | undefined;

export async function keepAccess(
  p: AccessParts,
  cluster: ResolvedCluster,
  users: readonly ScalingOwner[],
  signal: AbortSignal,
): Promise<AccessObstacle> {
  const [user] = users;
  if (user === undefined) return undefined;
  const { namespace } = user;
  const name = accessName(cluster, namespace);
  const at = { namespace, name };
  const certificate = accessCertificate(cluster, users);
  const obstacle =
    certificate === undefined
      ? await issue(p, cluster, users, at, signal)
      : await request(p, certificate as KubeObject, at, signal);
  if (obstacle !== undefined) return obstacle;
  const wanted = triggerAuthentication(cluster, users) as KubeObject;
  const live = p.triggerAuthentications.get(keyOf(at));
  await p.writer.apply(TRIGGER_AUTHENTICATIONS, wanted, { live, signal });
  return undefined;
}

async function issue(
  { writer, keys, wallMs, secrets, readSecret }: AccessParts,
  cluster: ResolvedCluster,
  users: readonly ScalingOwner[],
  at: { readonly name: string; readonly namespace: string },
  signal: AbortSignal,
): Promise<AccessObstacle> {
  const { namespace, names } = cluster;
  const authority = secrets.get(keyOf({ namespace, name: names.authoritySecret }));
  const live = secrets.get(keyOf(at)) ?? (await readSecret(at, signal));
  if (live !== undefined && !isOurs(live)) return `Secret ${at.name} is somebody else's: delete or rename it`;
  const renewed =
    authority &&
    renewClient(
      {
        ...{ name: SCALER, nowMs: wallMs() },
        ...{ authority: textOf(authority), leaf: live && textOf(live) },
      },
      keys,
    );
  if (renewed === undefined) return `Secret ${namespace}/${names.authoritySecret} is not there yet`;
  const wanted = accessSecret(cluster, users, renewed.leaf) as Secret;
  await writer.apply(SECRETS, wanted, { live, signal });
  return undefined;
}

async function request(
  { writer, certificates }: AccessParts,
  wanted: KubeObject,
  at: { readonly name: string; readonly namespace: string },
  signal: AbortSignal,
): Promise<AccessObstacle> {
  if (certificates === undefined || !certificates.isServed) return 'cert-manager is not there';
  await writer.apply(CERTIFICATES as Resource, wanted, { live: certificates.get(keyOf(at)), signal });
  return undefined;
}
