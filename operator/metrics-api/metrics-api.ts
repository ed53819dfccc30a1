// external.metrics.k8s.io as a part of the process, for autoscalers where there is no KEDA. It serves with or
// without the lease; whoever leads registers it, and keeps its certificate.
//   M1. Figures are asked of the data planes when they are asked for here.
//   M2. When it stops, it serves on for leavingMs, while API servers turn to others.
import type { ControllerHost } from '../kube/host.ts';
import { keyOf } from '../kube/objects.ts';
import type { KeySource } from '../resources/certificates.ts';
import { sleep } from '../runtime.ts';
import type { Place } from '../serving/certificate.ts';
import { Keeper } from '../serving/keeper.ts';
import { Presenter } from '../serving/presenter.ts';
import { answer, type FindFigures } from './answer.ts';
import { AUTHENTICATION, CONFIG_MAPS, type FrontProxy, frontProxyIn } from './front-proxy.ts';
import { CLUSTER_ROLES, inApiService } from './registration.ts';
import { type MetricsServer, serveMetrics } from './server.ts';

export interface MetricsApiOptions {
  readonly address: { readonly host: string; readonly port: number };
  readonly place: Place;
  /** Of the Service; default 443. */
  readonly servicePort?: number;
  readonly keys: KeySource;
  readonly find: FindFigures;
  readonly times?: { readonly settleMs: number; readonly aloneMs: number; readonly leavingMs: number };
}

const NAME = 'metrics-api';
const TIMES = { settleMs: 10_000, aloneMs: 15_000, leavingMs: 5_000 };

export interface MetricsApi {
  readonly port: number;
  /** What this replica lacks; undefined: it serves. */
  obstacle(): string | undefined;
  stop(): Promise<void>;
}

/** Before the informers start. Throws where the address cannot be listened on. */
export async function startMetricsApi(host: ControllerHost, o: MetricsApiOptions): Promise<MetricsApi> {
  const { runtime, log, client } = host;
  const times = o.times ?? TIMES;
  let server: MetricsServer | undefined;
  let frontProxy: FrontProxy | undefined;
  const presenter = new Presenter({
    ...{ name: NAME, runtime, log, settleMs: times.settleMs },
    present: (certificate) => server?.present(certificate),
  });
  server = await serveMetrics({
    ...o.address,
    log,
    answer: (request) => answer(request, o.find, runtime.wallMs()),
  });
  const { trust, drain, close, port } = server;
  const known = host.informer({
    ...{ resource: CONFIG_MAPS, namespaces: [AUTHENTICATION.namespace] },
    fieldSelector: `metadata.name=${AUTHENTICATION.name}`,
  });
  const stopTrusting = known.onChange(() => {
    const found = known.get(keyOf(AUTHENTICATION));
    frontProxy = found && frontProxyIn(found);
    if (frontProxy !== undefined) trust(frontProxy);
  });
  const identity = { name: NAME, place: o.place };
  const keeper = new Keeper({
    ...{ host, server: identity, keys: o.keys, presenter, aloneMs: times.aloneMs },
    registration: inApiService(identity, o.servicePort ?? 443, (name, signal) =>
      client.get(CLUSTER_ROLES, { name }, signal),
    ),
  });
  const stopKeeping = keeper.start();
  let stopped: Promise<void> | undefined;
  return {
    port,
    obstacle() {
      const { namespace, name } = AUTHENTICATION;
      if (frontProxy === undefined)
        return `ConfigMap ${namespace}/${name} does not say by whom API servers pass requests on`;
      return presenter.isValid ? undefined : keeper.obstacle;
    },
    stop: () => {
      stopped ??= (async () => {
        stopKeeping();
        stopTrusting();
        drain();
        await sleep(runtime, times.leavingMs);
        await close();
        presenter.stop();
      })();
      return stopped;
    },
  };
}
