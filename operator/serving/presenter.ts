// Which certificate this replica presents. It follows the Secret, but never gets ahead of the API server.
//   P1. The first one is presented at once, and so is any when the one at hand has ended.
//   P2. Another one waits until every place where an authority is named trusts its own, and SETTLE_MS more:
//       each API server reads for itself. Where there is no such place nobody has to trust.
//   P3. What cannot be read, has another key or has ended is never presented.
import type { X509Certificate } from 'node:crypto';
import type { KubeLog } from '../kube/telemetry.ts';
import { readBundle, readPair, type SecretText } from '../resources/certificate-plan.ts';
import type { Runtime } from '../runtime.ts';

export interface PresenterOptions {
  /** Of the server, for logs. */
  readonly name: string;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly present: (certificate: { readonly cert: string; readonly key: string }) => void;
  readonly settleMs?: number;
}

const SETTLE_MS = 10_000;
/** Timers take no more than 24 days. */
const LOOK_MS = 86_400_000;

interface Leaf {
  readonly text: SecretText;
  readonly certificate: X509Certificate;
}

export class Presenter {
  readonly #o: PresenterOptions;
  #presented: Leaf | undefined;
  #wanted: Leaf | undefined;
  /** Since when the wanted one is trusted, as this process has seen it. */
  #trustedSinceMs: number | undefined;
  #cancel: () => void = () => {};

  constructor(options: PresenterOptions) {
    this.#o = options;
  }

  get presented(): SecretText | undefined {
    return this.#presented?.text;
  }

  get notAfterMs(): number | undefined {
    return this.#presented && endOf(this.#presented);
  }

  /** Whether an API server that trusts the authority would accept it now. */
  get isValid(): boolean {
    return this.#presented !== undefined && !this.#hasEnded(this.#presented);
  }

  /** What the Secret and the registration hold now; `trusted`: PEM of each authority named there. */
  follow(secret: SecretText | undefined, trusted: readonly string[]): void {
    this.#cancel();
    const leaf = secret && leafOf(secret);
    if (leaf === undefined || this.#hasEnded(leaf) || isSame(leaf, this.#presented)) {
      this.#wanted = undefined;
      return;
    }
    if (!isSame(leaf, this.#wanted)) this.#trustedSinceMs = undefined;
    this.#wanted = leaf;
    const nowMs = this.#o.runtime.monotonicMs();
    const isTrusted = trusted.every((bundle) => readBundle(bundle).some((each) => signs(each, leaf)));
    this.#trustedSinceMs = isTrusted ? (this.#trustedSinceMs ?? nowMs) : undefined;
    const waitMs = this.#waitMs(nowMs, trusted.length);
    if (waitMs <= 0) this.#take(leaf);
    else this.#cancel = this.#o.runtime.after(waitMs, () => this.follow(secret, trusted));
  }

  stop(): void {
    this.#cancel();
  }

  #waitMs(nowMs: number, entries: number): number {
    if (this.#presented === undefined || entries === 0) return 0; // P1, P2
    const { runtime, settleMs = SETTLE_MS } = this.#o;
    const settledMs = (this.#trustedSinceMs ?? Number.POSITIVE_INFINITY) + settleMs - nowMs;
    return Math.min(settledMs, endOf(this.#presented) - runtime.wallMs(), LOOK_MS);
  }

  #take(leaf: Leaf): void {
    const { present, log, name } = this.#o;
    this.#wanted = undefined;
    present({ cert: leaf.text['tls.crt'] ?? '', key: leaf.text['tls.key'] ?? '' });
    this.#presented = leaf;
    const { serialNumber: serial, validTo: notAfter } = leaf.certificate;
    log.info({ event: `${name}.certificate-presented`, serial, notAfter }, 'presents a new certificate');
  }

  #hasEnded(leaf: Leaf): boolean {
    return endOf(leaf) <= this.#o.runtime.wallMs();
  }
}

function leafOf(text: SecretText): Leaf | undefined {
  const pair = readPair(text['tls.crt'], text['tls.key']);
  return pair && { text, certificate: pair.certificate };
}

const endOf = ({ certificate }: Leaf) => certificate.validToDate.getTime();

const isSame = (leaf: Leaf, other: Leaf | undefined) =>
  leaf.certificate.fingerprint256 === other?.certificate.fingerprint256;

const signs = (authority: X509Certificate, { certificate }: Leaf) =>
  certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
