// TLS of the listeners: what they show, whom they trust, and how that changes while they serve.
//   T1. At least TLS 1.2, and only suites that authenticate what they encrypt.
//   T2. A change is for handshakes that come: connections that are there go on with what they have.
//   T3. A client certificate counts only if it is verified. With `clientAuth: 'optional'` others get in
//       without an identity: probes without credentials, and clients with a token.
import type { SecureContextOptions } from 'node:tls';
import grpc from '@grpc/grpc-js';

export interface Tls {
  /** PEM. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /** PEM. Set: a certificate of this authority is an identity. */
  readonly clientCa?: Buffer | undefined;
  /** Whether clients must show one. Default: required, where there is an authority. */
  readonly clientAuth?: 'required' | 'optional' | undefined;
}

export interface LiveTls {
  readonly current: Tls;
  /** Calls `listener` with every change, until the returned function is called. */
  follow(listener: (tls: Tls) => void): () => void;
}

/** For what never changes. */
export const fixedTls = (current: Tls): LiveTls => ({ current, follow: () => () => {} });

/** A client that opens a connection and says nothing holds it no longer than this. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** What may change. All of it is given each time: Node forgets what is left out. */
export const contextOf = ({ cert, key, clientCa }: Tls): SecureContextOptions => ({
  cert,
  key,
  ...(clientCa === undefined ? {} : { ca: clientCa }),
  minVersion: 'TLSv1.2',
  ciphers: CIPHERS,
});

/** What is fixed when a listener is made. */
export const requestOf = ({ clientCa, clientAuth = 'required' }: Tls) => ({
  requestCert: clientCa !== undefined,
  rejectUnauthorized: clientCa !== undefined && clientAuth === 'required',
});

export const grpcCredentials = (tls: LiveTls | undefined): grpc.ServerCredentials =>
  tls === undefined ? grpc.ServerCredentials.createInsecure() : new LiveCredentials(tls);

class LiveCredentials extends grpc.ServerCredentials {
  constructor({ current, follow }: LiveTls) {
    super(requestOf(current), contextOf(current));
    follow((next) => this.updateSecureContextOptions(contextOf(next)));
  }

  _equals(other: grpc.ServerCredentials): boolean {
    return this === other;
  }
}
