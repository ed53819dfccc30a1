// Certificates that a test makes as it goes: an authority, and what it signs.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { signCertificate } from '../../operator/resources/x509.ts';

const HOUR_MS = 3_600_000;
const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });

const span = (lastsMs = HOUR_MS) => ({
  serial: randomBytes(16),
  notBeforeMs: Date.now() - HOUR_MS,
  notAfterMs: Date.now() + lastsMs,
});

export interface Issued {
  readonly cert: string;
  readonly key: string;
}

export class Authority {
  readonly #name: string;
  readonly #keys = newKeys();
  readonly cert: string;

  constructor(name: string) {
    this.#name = name;
    const { publicKey } = this.#keys;
    this.cert = signCertificate({
      subject: name,
      publicKey,
      issuer: this.#issuer,
      ...span(),
      isAuthority: true,
      names: [],
    });
  }

  get #issuer() {
    return { name: this.#name, ...this.#keys };
  }

  issue(subject: string, lastsMs?: number, names = ['localhost', '127.0.0.1']): Issued {
    const { publicKey, privateKey } = newKeys();
    const cert = signCertificate({
      subject,
      publicKey,
      issuer: this.#issuer,
      ...span(lastsMs),
      isAuthority: false,
      names,
    });
    return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }
}
