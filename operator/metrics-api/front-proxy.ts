// Who may ask: API servers, which have judged the request before they pass it on. They show the certificate
// of their front proxy, whose authority they publish in kube-system.
//   F1. Whoever shows another one, or none, gets no further than the handshake; a name that is not among
//       those allowed gets 403.
//   F2. Until it is known whom to trust, nobody is served.
import type { PeerCertificate } from 'node:tls';
import type { KubeObject, Resource } from '../kube/objects.ts';

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

export const CONFIG_MAPS: Resource<ConfigMap> = {
  ...{ group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true },
};
export const AUTHENTICATION = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };

export interface FrontProxy {
  /** PEM. */
  readonly authorities: string;
  /** Common names; empty: any. */
  readonly names: readonly string[];
}

/** Undefined: F2. */
export function frontProxyIn({ data = {} }: ConfigMap): FrontProxy | undefined {
  const authorities = data['requestheader-client-ca-file'];
  if (authorities === undefined || authorities === '') return undefined;
  const names = namesIn(data['requestheader-allowed-names']);
  return names && { authorities, names };
}

/** What cannot be read allows nobody. */
function namesIn(text: string | undefined): string[] | undefined {
  if (text === undefined || text === '') return [];
  try {
    const names: unknown = JSON.parse(text);
    const isList = Array.isArray(names) && names.every((each) => typeof each === 'string');
    return isList ? names : undefined;
  } catch {
    return undefined;
  }
}

/** F1; the handshake has checked the authority. */
export function isAllowed({ names }: FrontProxy, certificate: PeerCertificate): boolean {
  return names.length === 0 || names.includes(String(certificate.subject?.CN));
}
