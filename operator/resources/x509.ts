// Certificates (RFC 5280) with ECDSA keys on P-256: an authority of our own and the leaves that it signs.
// Keys, serial numbers and times are arguments; only the signature itself takes a random number of its own.
//   K1. Extensions are those that strict verifiers ask for: basic constraints and key usage are critical,
//       authority and subject key identifiers are there.
import { createHash, type KeyObject, sign } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { bits, integer, octets, oid, sequence, set, tagged, time, utf8, yes } from './der.ts';

export interface CertificateRequest {
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly issuer: { readonly name: string; readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  /** 16 random bytes. */
  readonly serial: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** An authority signs and serves nobody. */
  readonly isAuthority: boolean;
  /** Of a leaf: without any it serves nobody, and only says who calls. */
  readonly names?: readonly string[];
}

const OIDS = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  subjectAltName: '2.5.29.17',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** PEM. */
export function signCertificate(request: CertificateRequest): string {
  const algorithm = sequence(oid(OIDS.ecdsaWithSha256));
  const body = sequence(
    // Version 3, counted from 0.
    tagged(0xa0, integer(2n)),
    integer(positive(request.serial)),
    algorithm,
    nameOf(request.issuer.name),
    sequence(time(request.notBeforeMs), time(request.notAfterMs)),
    nameOf(request.subject),
    spki(request.publicKey),
    tagged(0xa3, sequence(...extensions(request))),
  );
  const certificate = sequence(body, algorithm, bits(sign('sha256', body, request.issuer.privateKey)));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

function extensions({ isAuthority, publicKey, issuer, names = [] }: CertificateRequest): Buffer[] {
  const common = [
    extension(OIDS.subjectKeyId, octets(keyId(publicKey))),
    extension(OIDS.authorityKeyId, sequence(tagged(0x80, keyId(issuer.publicKey)))),
  ];
  if (isAuthority) {
    return [
      extension(OIDS.basicConstraints, sequence(yes(), integer(0n)), 'critical'),
      // keyCertSign, cRLSign
      extension(OIDS.keyUsage, bits(Uint8Array.of(0b0000_0110), 1), 'critical'),
      ...common,
    ];
  }
  const usages = [...(names.length > 0 ? [OIDS.serverAuth] : []), OIDS.clientAuth];
  return [
    extension(OIDS.basicConstraints, sequence(), 'critical'),
    // digitalSignature
    extension(OIDS.keyUsage, bits(Uint8Array.of(0b1000_0000), 7), 'critical'),
    extension(OIDS.extendedKeyUsage, sequence(...usages.map(oid))),
    ...(names.length > 0 ? [extension(OIDS.subjectAltName, sequence(...names.map(alternativeName)))] : []),
    ...common,
  ];
}

const extension = (id: string, value: Uint8Array, critical?: 'critical') =>
  sequence(oid(id), ...(critical ? [yes()] : []), octets(value));

const nameOf = (commonName: string) => sequence(set(sequence(oid(OIDS.commonName), utf8(commonName))));

const spki = (key: KeyObject) => key.export({ type: 'spki', format: 'der' });

/** RFC 7093, method 1: 160 bits of a SHA-256, of something that both sides of a signature know. */
const keyId = (key: KeyObject) => createHash('sha256').update(spki(key)).digest().subarray(0, 20);

function alternativeName(name: string): Buffer {
  if (isIPv4(name)) return tagged(0x87, Uint8Array.from(name.split('.').map(Number)));
  return tagged(0x82, Buffer.from(name, 'latin1'));
}

function positive(serial: Uint8Array): bigint {
  const value = BigInt(`0x${Buffer.from(serial).toString('hex')}`);
  return value === 0n ? 1n : value;
}
