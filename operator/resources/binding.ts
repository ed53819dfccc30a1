// What an application needs to connect, in one Secret: as environment (`envFrom`, the names that SDKs and the
// command line read) and as files (`type`, `host`, `ca.crt`, ..., as service bindings are mounted).
//   B1. It holds no private key of the fabric and nothing that a client does not need.
import type { V1Secret } from '@kubernetes/client-node';
import type { ListenerName, ResolvedCluster } from './cluster.ts';
import { metadataOf } from './names.ts';
import type { Built } from './objects.ts';
import { serviceHost } from './services.ts';

export interface Credentials {
  readonly token: string;
  /** PEM, the authorities that the certificates of the pods may come from; unset without TLS. */
  readonly authorities?: string | undefined;
}

export function bindingSecret(cluster: ResolvedCluster, credentials: Credentials): Built<V1Secret> {
  const { token, authorities } = credentials;
  const host = serviceHost(cluster);
  const addresses = addressesOf(cluster);
  const hasTls = cluster.tls.mode !== 'Disabled';
  return secret(cluster, cluster.names.bindingSecret, 'servicebinding.io/flowmesh', {
    type: 'flowmesh',
    provider: 'flowmesh.io',
    host,
    port: String(addresses.grpc?.port ?? ''),
    token,
    FLOWMESH_ADDRESS: `${host}:${addresses.grpc?.port}`,
    FLOWMESH_TOKEN: token,
    FLOWMESH_HTTP_URL: `${hasTls ? 'https' : 'http'}://${host}:${addresses.http?.port}`,
    FLOWMESH_REDIS_URL: addresses.redis && redisUrl(hasTls, token, `${host}:${addresses.redis.port}`),
    FLOWMESH_CA: hasTls ? authorities : undefined,
    'ca.crt': hasTls ? authorities : undefined,
  });
}

const redisUrl = (hasTls: boolean, token: string, address: string) =>
  `${hasTls ? 'rediss' : 'redis'}://default:${encodeURIComponent(token)}@${address}`;

/** Made once and kept: a new token would lock every application out. */
export function tokenSecret(cluster: ResolvedCluster, token: string): Built<V1Secret> {
  return secret(cluster, cluster.names.tokenSecret, 'Opaque', { token });
}

function addressesOf({ listeners }: ResolvedCluster): Partial<Record<ListenerName, { port: number }>> {
  return Object.fromEntries(listeners.map(({ name, port }) => [name, { port }]));
}

export function secret(
  cluster: ResolvedCluster,
  name: string,
  type: string,
  content: Record<string, string | undefined>,
): Built<V1Secret> {
  const data = Object.entries(content).flatMap(([key, text]) =>
    text === undefined ? [] : [[key, Buffer.from(text).toString('base64')]],
  );
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: metadataOf(cluster, name),
    type,
    data: Object.fromEntries(data),
  };
}
