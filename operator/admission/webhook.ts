// The webhook as a part of the process: it serves with or without the lease; its certificate is kept by
// serving/keeper.ts. Nothing else of the operator depends on it.
//   W1. Ready means that there is a certificate: no request is sent to who cannot answer it.
//   W2. When it stops, it serves on for LEAVING_MS, while Services and API servers turn to others.
import type { Registry } from 'prom-client';
import type { ControllerHost } from '../kube/host.ts';
import type { KeySource } from '../resources/certificates.ts';
import { sleep } from '../runtime.ts';
import type { Place } from '../serving/certificate.ts';
import { Keeper } from '../serving/keeper.ts';
import { Presenter } from '../serving/presenter.ts';
import { inConfiguration } from './certificate.ts';
import { decide } from './decide.ts';
import { createWebhookMeter } from './metrics.ts';
import { serveWebhook, type WebhookServer } from './server.ts';

export interface WebhookOptions {
  readonly address: { readonly host: string; readonly port: number };
  readonly place: Place;
  readonly keys: KeySource;
  readonly registry: Registry;
  readonly times?: WebhookTimes;
}

export interface WebhookTimes {
  /** How long the API servers may take to read the configuration. */
  readonly settleMs: number;
  /** How long a replica that does not lead waits for the Secret before it makes it. */
  readonly aloneMs: number;
  /** W2. */
  readonly leavingMs: number;
}

const TIMES: WebhookTimes = { settleMs: 10_000, aloneMs: 15_000, leavingMs: 5_000 };
const NAME = 'webhook';

export interface Webhook {
  readonly port: number;
  /** W1: what this replica lacks; undefined: it serves. */
  obstacle(): string | undefined;
  stop(): Promise<void>;
}

/** Before the informers start. Throws where the address cannot be listened on. */
export async function startWebhook(host: ControllerHost, o: WebhookOptions): Promise<Webhook> {
  const { runtime, log } = host;
  const times = o.times ?? TIMES;
  // The server's figures and its certificate refer to each other.
  let server: WebhookServer | undefined;
  const presenter = new Presenter({
    ...{ name: NAME, runtime, log },
    settleMs: times.settleMs,
    present: (certificate) => server?.present(certificate),
  });
  const meter = createWebhookMeter(o.registry, () => presenter.notAfterMs);
  server = await serveWebhook({ ...o.address, decide, log, monotonicMs: runtime.monotonicMs, meter });
  const keeper = new Keeper({
    ...{ host, server: { name: NAME, place: o.place }, keys: o.keys, presenter, aloneMs: times.aloneMs },
    registration: inConfiguration(o.place),
  });
  const stopKeeping = keeper.start();
  const { drain, close, port } = server;
  let stopped: Promise<void> | undefined;
  return {
    port,
    obstacle: () => (presenter.isValid ? undefined : keeper.obstacle),
    stop: () => {
      stopped ??= (async () => {
        stopKeeping();
        drain();
        await sleep(runtime, times.leavingMs);
        await close();
        presenter.stop();
      })();
      return stopped;
    },
  };
}
