// Where the API server is and how to prove who we are: a kubeconfig or the ServiceAccount of the pod, read
// by the KubeConfig of @kubernetes/client-node (client certificates, tokens, token files, exec plugins,
// OIDC, proxies).
//   C1. Only the KubeConfig is loaded. The package's generated models are 1,000 modules of 25 MB text that
//       would take the operator from 78 to 115 MB; what the KubeConfig wants of them is stubbed while it
//       loads.
//   C2. What it answers is used for REFRESH_MS: files and exec plugins are asked again, so that rotated
//       certificates and tokens are taken up. `forget` asks at once (after a 401).
import type { Agent } from 'node:http';
import { registerHooks } from 'node:module';
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import type { Runtime } from '../runtime.ts';

export interface Access {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsMaterial;
  /** Instead of an agent of our own: a proxy. */
  readonly agent?: Agent | undefined;
}

export interface TlsMaterial {
  readonly ca?: string | Buffer | undefined;
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
  readonly servername?: string | undefined;
}

export interface Credentials {
  /** Such as https://10.96.0.1:443. */
  readonly server: string;
  /** Of the pod or the context. */
  readonly namespace: string | undefined;
  access(): Promise<Access>;
  forget(): void;
}

export interface CredentialSource {
  /** A kubeconfig; unset is the pod's ServiceAccount, $KUBECONFIG or ~/.kube/config, as every client does. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

const REFRESH_MS = 15_000;
const STUB = `data:text/javascript,${encodeURIComponent(
  'export const createConfiguration = undefined, ServerConfiguration = undefined, of = undefined;',
)}`;

export async function loadCredentials(source: CredentialSource, runtime: Runtime): Promise<Credentials> {
  const config = await newKubeConfig();
  if (source.kubeconfig !== undefined) config.loadFromFile(source.kubeconfig);
  else config.loadFromDefault();
  if (source.context !== undefined) config.setCurrentContext(source.context);
  const cluster = config.getCurrentCluster();
  if (!cluster)
    throw new Error(`the kubeconfig has no context ${source.context ?? config.getCurrentContext()}`);
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace?.trim();
  const ask = () => accessOf(config, cluster.proxyUrl !== undefined);
  return { server: cluster.server.replace(/\/+$/, ''), namespace, ...refreshed(ask, runtime) };
}

function refreshed(ask: () => Promise<Access>, runtime: Runtime) {
  let known: { access: Promise<Access>; untilMs: number } | undefined;
  return {
    access(): Promise<Access> {
      const nowMs = runtime.monotonicMs();
      if (known !== undefined && nowMs < known.untilMs) return known.access;
      const access = ask();
      const asked = { access, untilMs: nowMs + REFRESH_MS };
      known = asked;
      access.catch(() => {
        if (known === asked) known = undefined;
      });
      return access;
    },
    forget() {
      known = undefined;
    },
  };
}

async function accessOf(config: KubeConfig, behindProxy: boolean): Promise<Access> {
  const o: Parameters<KubeConfig['applyToHTTPSOptions']>[0] = {};
  await config.applyToHTTPSOptions(o);
  const headers = Object.fromEntries(
    Object.entries((o.headers ?? {}) as Record<string, string>).map(([name, value]) => [name, `${value}`]),
  );
  if (typeof o.auth === 'string')
    headers['Authorization'] = `Basic ${Buffer.from(o.auth).toString('base64')}`;
  const { ca, cert, key, rejectUnauthorized, servername } = o as TlsMaterial;
  return {
    headers,
    tls: { ca, cert, key, rejectUnauthorized, servername },
    ...(behindProxy && { agent: o.agent as Agent }),
  };
}

let loading: Promise<typeof import('@kubernetes/client-node/dist/config.js')> | undefined;

async function newKubeConfig(): Promise<KubeConfig> {
  loading ??= withoutModels(() => import('@kubernetes/client-node/dist/config.js'));
  const { KubeConfig: Config } = await loading;
  return new Config();
}

// C1. A release with another layout is loaded whole: more memory, nothing else.
async function withoutModels<T>(load: () => Promise<T>): Promise<T> {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      const fromConfig = /\/@kubernetes\/client-node\/dist\/(?:config|middleware)\.js$/;
      if (fromConfig.test(context.parentURL ?? '') && specifier.startsWith('./gen/')) {
        return { url: STUB, shortCircuit: true };
      }
      return next(specifier, context);
    },
  });
  try {
    return await load();
  } finally {
    hooks.deregister();
  }
}
