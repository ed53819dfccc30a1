// Where the data plane of a cluster answers, and how one gets in: read from the binding Secret, each time
// that a connection is made, so that new tokens and certificates need no restart.
import type { Client } from '../../kube/client.ts';
import type { KubeObject, Resource } from '../../kube/objects.ts';
import { namesOf } from '../../resources/names.ts';
import type { Endpoint } from './connection.ts';
import type { ClusterObject } from './reference.ts';

export type ResolveEndpoint = (cluster: ClusterObject, signal: AbortSignal) => Promise<Endpoint>;

interface Secret extends KubeObject {
  data?: Record<string, string>;
}

const SECRETS: Resource<Secret> = {
  ...{ group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true },
};

export const fromBinding =
  (client: Client): ResolveEndpoint =>
  async ({ metadata }, signal) => {
    const { namespace } = metadata;
    const name = namesOf(metadata.name).bindingSecret;
    const secret = await client.get(SECRETS, { name, namespace }, signal);
    const text = (key: string) => {
      const found = secret?.data?.[key];
      return found === undefined ? undefined : Buffer.from(found, 'base64').toString('utf8');
    };
    const address = text('FLOWMESH_ADDRESS');
    if (address === undefined) throw new Error(`Secret ${namespace}/${name} is not there yet`);
    return { address, token: text('token'), authorities: text('ca.crt') };
  };
