// The webhook as a part of the process: it serves with or without the lease; whoever leads keeps the
// certificate. Nothing else of the operator depends on it.
//   W1. The leader makes and renews the Secret and publishes its authority in the configuration. At rest it
//       writes nothing.
//   W2. Where there is no Secret for a while, any replica makes it: during the update that turns the webhook
//       on, the old pod leads, knows nothing of it, and goes only when the new one is ready.
//   W3. Ready means that there is a certificate: no request is sent to who cannot answer it.
//   W4. When it stops, it serves on for LEAVING_MS, while Services and API servers turn to others.
import type { Registry } from 'prom-client';
import { Writer } from '../kube/apply.ts';
import { type Source, TerminalError, watched } from '../kube/controller.ts';
import type { ControllerHost } from '../kube/host.ts';
import type { Informer } from '../kube/informer.ts';
import { keyOf } from '../kube/objects.ts';
import type { KeySource } from '../resources/certificates.ts';
import { sleep } from '../runtime.ts';
import {
  CONFIGURATIONS,
  type Configuration,
  configurationNameOf,
  dueOf,
  ForeignSecret,
  leafIn,
  type Place,
  SECRETS,
  type Secret,
  secretNameOf,
  trustedIn,
} from './certificate.ts';
import { decide } from './decide.ts';
import { createWebhookMeter } from './metrics.ts';
import { Presenter } from './presenter.ts';
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
  /** W2. */
  readonly aloneMs: number;
  /** W4. */
  readonly leavingMs: number;
}

const TIMES: WebhookTimes = { settleMs: 10_000, aloneMs: 15_000, leavingMs: 5_000 };
const NAME = 'flowmesh-webhook';

export interface Webhook {
  readonly port: number;
  /** W3: what this replica lacks; undefined: it serves. */
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
    runtime,
    log,
    settleMs: times.settleMs,
    present: (certificate) => server?.present(certificate),
  });
  const meter = createWebhookMeter(o.registry, () => presenter.notAfterMs);
  server = await serveWebhook({ ...o.address, decide, log, monotonicMs: runtime.monotonicMs, meter });
  const keeper = new Keeper(host, o, presenter);
  const stopKeeping = keeper.start(times.aloneMs);
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

class Keeper {
  readonly #host: ControllerHost;
  readonly #o: WebhookOptions;
  readonly #presenter: Presenter;
  readonly #secrets: Informer<Secret>;
  readonly #configurations: Informer<Configuration>;
  readonly #writer: Writer;
  readonly #at: { readonly namespace: string; readonly name: string };

  constructor(host: ControllerHost, o: WebhookOptions, presenter: Presenter) {
    const only = (name: string) => ({ fieldSelector: `metadata.name=${name}` });
    this.#host = host;
    this.#o = o;
    this.#presenter = presenter;
    this.#at = { namespace: o.place.namespace, name: secretNameOf(o.place) };
    this.#secrets = host.informer({
      ...{ resource: SECRETS, namespaces: [o.place.namespace] },
      ...only(this.#at.name),
    });
    this.#configurations = host.informer({
      resource: CONFIGURATIONS,
      ...only(configurationNameOf(o.place)),
    });
    this.#writer = host.writer(NAME);
  }

  get obstacle(): string {
    const { namespace, name } = this.#at;
    return `the webhook has no certificate: see Secret ${namespace}/${name} and the log of who leads`;
  }

  start(aloneMs: number): () => void {
    const key = keyOf(this.#at);
    const { runtime } = this.#host;
    const ends = [this.#secrets, this.#configurations].map((informer) =>
      (informer as Informer).onChange(() => this.#follow()),
    );
    // There may be no Secret yet that would bring the key.
    const begin: Source = {
      synced: this.#configurations.synced,
      start(add) {
        runtime.soon(() => add(key));
        return () => {};
      },
    };
    this.#host.controller({
      name: 'webhook',
      primary: this.#secrets,
      sources: [watched(this.#configurations, () => [key]), begin],
      workersMax: 1,
      reconcile: async (_, { signal }) => {
        const { renewAtMs } = await this.#keep(this.#writer, signal);
        return { requeueAfterMs: Math.max(1000, renewAtMs - runtime.wallMs()) };
      },
    });
    const stopHelping = this.#help(aloneMs);
    return () => {
      stopHelping();
      for (const end of ends) end();
    };
  }

  #follow(): void {
    const secret = this.#secrets.get(keyOf(this.#at));
    const configuration = this.#configurations.get(keyOf({ name: configurationNameOf(this.#o.place) }));
    this.#presenter.follow(secret && leafIn(secret), trustedIn(configuration));
  }

  async #keep(writer: Writer, signal: AbortSignal): Promise<{ readonly renewAtMs: number }> {
    const { client, log } = this.#host;
    const configuration = this.#configurations.get(keyOf({ name: configurationNameOf(this.#o.place) }));
    // A Secret that the informer lacks may have been made just now.
    const secret = this.#secrets.get(keyOf(this.#at)) ?? (await client.get(SECRETS, this.#at, signal));
    const due = this.#due(secret, configuration);
    // The key of the authority is kept before anything that it signed is used.
    if (due.secret !== undefined) {
      await writer.apply(SECRETS, due.secret, { signal });
      const { reasons } = due;
      log.info({ event: 'webhook.certificate-kept', ...this.#at, reasons }, 'wrote the certificate');
    }
    if (due.configuration !== undefined && writer === this.#writer) {
      await writer.apply(CONFIGURATIONS, due.configuration, { signal });
      const { name } = due.configuration.metadata;
      log.info({ event: 'webhook.authority-published', name }, 'the API server trusts the webhook');
    }
    return due;
  }

  #due(secret: Secret | undefined, configuration: Configuration | undefined) {
    const { place, keys } = this.#o;
    const { presented } = this.#presenter;
    const nowMs = this.#host.runtime.wallMs();
    try {
      return dueOf({ secret, configuration, presented, nowMs }, place, keys);
    } catch (error) {
      throw error instanceof ForeignSecret ? new TerminalError(error.message) : error;
    }
  }

  /** W2. */
  #help(aloneMs: number): () => void {
    const { runtime, log, client } = this.#host;
    const writer = new Writer({ client, log, fieldManager: NAME, mayWrite: () => true });
    const ended = new AbortController();
    const look = async () => {
      await this.#secrets.synced;
      for (;;) {
        await sleep(runtime, aloneMs * (1 + runtime.random()), ended.signal);
        if (ended.signal.aborted) return;
        if (this.#secrets.get(keyOf(this.#at)) !== undefined || this.#host.mayAct()) continue;
        try {
          await this.#keep(writer, ended.signal);
        } catch (err) {
          log.warn({ event: 'webhook.not-kept', err }, 'nobody makes the certificate, and neither can we');
        }
      }
    };
    void look();
    return () => ended.abort();
  }
}
