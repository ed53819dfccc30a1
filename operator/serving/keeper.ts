// Keeps the certificate of a server that API servers ask, and its registration.
//   K1. The leader makes and renews the Secret and publishes its authority where the server is registered. At
//       rest it writes nothing.
//   K2. Where there is no Secret for a while, any replica makes it: during the update that turns the server
//       on, the old pod leads, knows nothing of it, and goes only when the new one is ready.
//   K3. The key of the authority is kept before anything that it signed is used.
import { Writer } from '../kube/apply.ts';
import { type Source, TerminalError, watched } from '../kube/controller.ts';
import type { ControllerHost } from '../kube/host.ts';
import type { Informer } from '../kube/informer.ts';
import { type KubeObject, keyOf, type OwnerReference, type Resource } from '../kube/objects.ts';
import type { KeySource } from '../resources/certificates.ts';
import { sleep } from '../runtime.ts';
import {
  type DueSecret,
  dueSecret,
  ForeignSecret,
  leafIn,
  SECRETS,
  type Secret,
  type Server,
  secretNameOf,
} from './certificate.ts';
import type { Presenter } from './presenter.ts';

/** The object by which API servers find a server. */
export interface Registration<R extends KubeObject> {
  readonly resource: Resource<R>;
  readonly name: string;
  /** With whom the Secret goes; undefined: with nobody. */
  owner(live: R | undefined, signal: AbortSignal): Promise<OwnerReference | undefined>;
  /** What has to be written so that they trust `bundle`; undefined: nothing. */
  wanted(live: R | undefined, bundle: string, owner: OwnerReference | undefined): R | undefined;
  /** PEM, of each place where an authority is named. */
  trusted(live: R | undefined): readonly string[];
}

export interface KeeperOptions<R extends KubeObject> {
  readonly host: ControllerHost;
  readonly server: Server;
  readonly registration: Registration<R>;
  readonly keys: KeySource;
  readonly presenter: Presenter;
  /** K2. */
  readonly aloneMs: number;
}

export class Keeper<R extends KubeObject> {
  readonly #o: KeeperOptions<R>;
  readonly #secrets: Informer<Secret>;
  readonly #registrations: Informer<R>;
  readonly #writer: Writer;
  readonly #at: { readonly namespace: string; readonly name: string };

  constructor(options: KeeperOptions<R>) {
    const { host, server, registration } = options;
    const only = (name: string) => ({ fieldSelector: `metadata.name=${name}` });
    const { namespace } = server.place;
    this.#o = options;
    this.#at = { namespace, name: secretNameOf(server.place) };
    this.#secrets = host.informer({ resource: SECRETS, namespaces: [namespace], ...only(this.#at.name) });
    this.#registrations = host.informer({ resource: registration.resource, ...only(registration.name) });
    this.#writer = host.writer(`flowmesh-${server.name}`);
  }

  get obstacle(): string {
    const { namespace, name } = this.#at;
    const cure = `see Secret ${namespace}/${name} and the log of who leads`;
    return `the ${this.#o.server.name} has no certificate: ${cure}`;
  }

  start(): () => void {
    const key = keyOf(this.#at);
    const { host, server } = this.#o;
    const { runtime } = host;
    const ends = [this.#secrets as Informer, this.#registrations as unknown as Informer].map((informer) =>
      informer.onChange(() => this.#follow()),
    );
    // There may be no Secret yet that would bring the key.
    const begin: Source = {
      synced: this.#registrations.synced,
      start(add) {
        runtime.soon(() => add(key));
        return () => {};
      },
    };
    host.controller({
      name: server.name,
      primary: this.#secrets,
      sources: [watched(this.#registrations, () => [key]), begin],
      workersMax: 1,
      reconcile: async (_, { signal }) => {
        const { renewAtMs } = await this.#keep(this.#writer, signal);
        return { requeueAfterMs: Math.max(1000, renewAtMs - runtime.wallMs()) };
      },
    });
    const stopHelping = this.#help();
    return () => {
      stopHelping();
      for (const end of ends) end();
    };
  }

  get #registered(): R | undefined {
    return this.#registrations.get(keyOf({ name: this.#o.registration.name }));
  }

  #follow(): void {
    const secret = this.#secrets.get(keyOf(this.#at));
    this.#o.presenter.follow(secret && leafIn(secret), this.#o.registration.trusted(this.#registered));
  }

  async #keep(writer: Writer, signal: AbortSignal): Promise<{ readonly renewAtMs: number }> {
    const { host, registration, server } = this.#o;
    const { client, log } = host;
    const live = this.#registered;
    const owner = await registration.owner(live, signal);
    // A Secret that the informer lacks may have been made just now.
    const secret = this.#secrets.get(keyOf(this.#at)) ?? (await client.get(SECRETS, this.#at, signal));
    const due = this.#due(secret, owner);
    // K3.
    if (due.secret !== undefined) {
      await writer.apply(SECRETS, due.secret, { signal });
      const { reasons } = due;
      log.info({ event: `${server.name}.certificate-kept`, ...this.#at, reasons }, 'wrote the certificate');
    }
    const wanted = writer === this.#writer ? registration.wanted(live, due.bundle, owner) : undefined;
    if (wanted !== undefined) {
      await writer.apply(registration.resource, wanted, { signal });
      const { name } = wanted.metadata;
      log.info(
        { event: `${server.name}.authority-published`, name },
        `the API server trusts the ${server.name}`,
      );
    }
    return due;
  }

  #due(secret: Secret | undefined, owner: OwnerReference | undefined): DueSecret {
    const { server, keys, presenter, host } = this.#o;
    const { presented } = presenter;
    const nowMs = host.runtime.wallMs();
    try {
      return dueSecret({ secret, owner, presented, nowMs }, server, keys);
    } catch (error) {
      throw error instanceof ForeignSecret ? new TerminalError(error.message) : error;
    }
  }

  /** K2. */
  #help(): () => void {
    const { host, server, aloneMs } = this.#o;
    const { runtime, log, client } = host;
    const fieldManager = `flowmesh-${server.name}`;
    const writer = new Writer({ client, log, fieldManager, mayWrite: () => true });
    const ended = new AbortController();
    const look = async () => {
      await this.#secrets.synced;
      for (;;) {
        await sleep(runtime, aloneMs * (1 + runtime.random()), ended.signal);
        if (ended.signal.aborted) return;
        if (this.#secrets.get(keyOf(this.#at)) !== undefined || host.mayAct()) continue;
        try {
          await this.#keep(writer, ended.signal);
        } catch (err) {
          const event = `${server.name}.not-kept` as const;
          log.warn({ event, err }, 'nobody makes the certificate, and neither can we');
        }
      }
    };
    void look();
    return () => ended.abort();
  }
}
