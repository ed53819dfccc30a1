// Where the API server learns that it may trust the webhook: the configuration that the chart makes.
//   C1. Of the configuration nothing is set but the authorities, of its entries as they are there.
//   C2. Helm takes the configuration away; garbage collection the Secret then.
import type { KubeObject, OwnerReference, Resource } from '../kube/objects.ts';
import { decoded, encoded, type Place } from '../serving/certificate.ts';
import type { Registration } from '../serving/keeper.ts';

export interface Configuration extends KubeObject {
  webhooks?: { name: string; clientConfig?: { caBundle?: string } }[];
}

export const CONFIGURATIONS: Resource<Configuration> = {
  ...{ group: 'admissionregistration.k8s.io', version: 'v1', plural: 'validatingwebhookconfigurations' },
  ...{ kind: 'ValidatingWebhookConfiguration', namespaced: false },
};

/** The chart calls it as it calls the Service. */
export const configurationNameOf = ({ service }: Place) => service;

export const inConfiguration = (place: Place): Registration<Configuration> => ({
  resource: CONFIGURATIONS,
  name: configurationNameOf(place),
  owner: async (configuration) => configuration && ownerOf(configuration),
  wanted: (configuration, bundle) => configuration && trusting(configuration, bundle),
  trusted: trustedIn,
});

/** C2. */
const ownerOf = ({ metadata: { name, uid = '' } }: Configuration): OwnerReference => ({
  ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind: CONFIGURATIONS.kind, name, uid },
});

/** C1. Undefined: each entry has it already. */
function trusting(configuration: Configuration, bundle: string): Configuration | undefined {
  const caBundle = encoded(bundle);
  const entries = configuration.webhooks ?? [];
  if (entries.every(({ clientConfig }) => clientConfig?.caBundle === caBundle)) return undefined;
  return {
    metadata: { name: configuration.metadata.name },
    webhooks: entries.map(({ name }) => ({ name, clientConfig: { caBundle } })),
  };
}

/** PEM, one text for each entry. */
export function trustedIn(configuration: Configuration | undefined): readonly string[] {
  return (configuration?.webhooks ?? []).map(({ clientConfig }) => decoded(clientConfig?.caBundle) ?? '');
}
