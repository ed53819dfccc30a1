// Certificates that real TLS stacks accept, renewed in time and without breaking a connection.
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { certificateNames } from '../../operator/resources/cert-manager.ts';
import {
  namesOf,
  planCertificates,
  readBundle,
  type SecretText,
} from '../../operator/resources/certificate-plan.ts';
import { renewCertificates } from '../../operator/resources/certificates.ts';
import { resolveCluster } from '../../operator/resources/cluster.ts';
import { realKeys } from '../../operator/resources/key-source.ts';
import { caseOf, DEFAULTS } from './render-cases.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 10, 25, 12);
const cluster = resolveCluster(caseOf('default').cluster, DEFAULTS);
const names = certificateNames(cluster);
const host = 'main-flowmesh.shop.svc.cluster.local';

type Secrets = { authority?: SecretText; leaf?: SecretText };
const renew = (nowMs: number, secrets: Secrets = {}, wanted = names) =>
  renewCertificates({ nowMs, names: wanted, name: 'main-flowmesh', ...secrets }, realKeys);
const certificateOf = (text: SecretText) => new X509Certificate(text['tls.crt'] ?? '');
const first = renew(START_MS);

/** A real handshake that verifies everything; the error code, or how it went. */
async function handshake({ leaf, ca, servername }: { leaf: SecretText; ca: string; servername: string }) {
  const server = createServer({ cert: leaf['tls.crt'], key: leaf['tls.key'] }, (socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await new Promise<string>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1', ca, servername, minVersion: 'TLSv1.3' }, () => {
        resolve(socket.authorized ? 'ok' : 'refused');
        socket.end();
      });
      socket.on('error', (error: Error & { code?: string }) => resolve(error.code ?? error.message));
    });
  } finally {
    server.close();
  }
}

/** The clock of a handshake is the real one, so these are issued now. */
const fresh = renew(Date.now());

test.each([
  host,
  'main-flowmesh.shop.svc',
  'main-flowmesh-0.main-flowmesh-pods.shop.svc.cluster.local',
  'localhost',
])('a client that trusts the authority reaches %s', async (servername) => {
  expect(await handshake({ leaf: fresh.leaf, ca: fresh.leaf['ca.crt'] ?? '', servername })).toBe('ok');
});

test('other names and other authorities are refused', async () => {
  const ca = fresh.leaf['ca.crt'] ?? '';
  expect(await handshake({ leaf: fresh.leaf, ca, servername: 'example.org' })).toBe(
    'ERR_TLS_CERT_ALTNAME_INVALID',
  );
  const stranger = renew(Date.now());
  expect(await handshake({ leaf: stranger.leaf, ca, servername: host })).not.toBe('ok');
});

test('a strict verifier takes the chain for both sides of a connection', (context) => {
  if (spawnSync('openssl', ['version']).status !== 0) return context.skip('openssl is not installed here');
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-certs-'));
  try {
    writeFileSync(join(dir, 'ca.crt'), fresh.leaf['ca.crt'] ?? '');
    writeFileSync(join(dir, 'tls.crt'), fresh.leaf['tls.crt'] ?? '');
    for (const purpose of ['sslserver', 'sslclient']) {
      const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'ca.crt', 'tls.crt'];
      const { status, stderr } = spawnSync('openssl', args, { cwd: dir, encoding: 'utf8' });
      expect(stderr).toBe('');
      expect(status).toBe(0);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('the first certificates hold what they should', () => {
  const leaf = certificateOf(first.leaf);
  const [authority] = readBundle(first.leaf['ca.crt']);
  expect(namesOf(leaf)).toEqual(new Set(names));
  expect(leaf.ca).toBe(false);
  expect(authority?.ca).toBe(true);
  expect(leaf.validToDate.getTime() - START_MS).toBe(90 * DAY_MS);
  expect(leaf.validFromDate.getTime()).toBeLessThan(START_MS);
  expect(Buffer.from(leaf.serialNumber, 'hex').length).toBeLessThanOrEqual(20);
  expect(first.authority['next.key']).toBeUndefined();
  expect(Object.keys(first.leaf).sort()).toEqual(['ca.crt', 'tls.crt', 'tls.key']);
  expect(first.leaf['tls.key']).not.toBe(first.authority['tls.key']);
});

test('nothing is due before two thirds of 90 days, and a new leaf from the same authority then', () => {
  const { renewAtMs } = first;
  expect(renewAtMs).toBeGreaterThan(START_MS + 59 * DAY_MS);
  expect(renewAtMs).toBeLessThan(START_MS + 61 * DAY_MS);
  const early = renew(renewAtMs - 1000, first);
  expect(early.hasChanged).toBe(false);
  expect(early.leaf).toEqual(first.leaf);
  const due = renew(renewAtMs, first);
  expect(due.hasChanged).toBe(true);
  expect(due.reasons).toEqual(['the certificate has used up two thirds of its time']);
  expect(due.authority).toEqual(first.authority);
  expect(due.leaf['ca.crt']).toBe(first.leaf['ca.crt']);
  expect(certificateOf(due.leaf).serialNumber).not.toBe(certificateOf(first.leaf).serialNumber);
});

test.each<[string, (secrets: { authority: SecretText; leaf: SecretText }) => Secrets, string]>([
  ['no Secret of the pods', ({ authority }) => ({ authority }), ''],
  ['a damaged certificate', (s) => ({ ...s, leaf: { ...s.leaf, 'tls.crt': 'x' } }), 'cannot be read'],
  [
    'a key of another',
    (s) => ({ ...s, leaf: { ...s.leaf, 'tls.key': fresh.leaf['tls.key'] } }),
    'another key',
  ],
  ['another authority', (s) => ({ ...s, authority: fresh.authority }), 'another authority'],
])('%s is answered with a new leaf at once', (_, change, reason) => {
  const renewed = renew(START_MS, change(first));
  expect(renewed.hasChanged).toBe(true);
  expect(renewed.reasons.join()).toContain(reason);
  const [authority] = readBundle(renewed.authority['tls.crt']);
  expect(authority && certificateOf(renewed.leaf).checkIssued(authority)).toBe(true);
});

test('a name that is missing is a reason, one that is not needed any more is none', () => {
  expect(renew(START_MS, first, [...names, 'other.example']).reasons).toEqual([
    'the certificate lacks other.example',
  ]);
  expect(renew(START_MS, first, names.slice(1)).hasChanged).toBe(false);
});

test('an authority that is lost is replaced, and the old one stays trusted by clients that are told', () => {
  const renewed = renew(START_MS + DAY_MS, { leaf: first.leaf });
  expect(readBundle(renewed.leaf['ca.crt'])).toHaveLength(2);
  const unreadable = renew(START_MS, { ...first, authority: { 'tls.crt': 'x' } });
  expect(unreadable.reasons).toEqual(['the authority cannot be read']);
});

test('over the whole life of an authority no client ever loses the pods', () => {
  let renewed = first;
  let clientTrusts = first.leaf['ca.crt'] ?? '';
  const turns: string[] = [];
  for (let nowMs = first.renewAtMs; nowMs < START_MS + 4000 * DAY_MS; nowMs = renewed.renewAtMs) {
    const { authority } = planCertificates({ nowMs, names, ...renewed });
    if (authority !== 'keep') turns.push(authority);
    renewed = renew(nowMs, renewed);
    expect(renewed.hasChanged).toBe(true);
    const leaf = certificateOf(renewed.leaf);
    const trusted = readBundle(clientTrusts);
    const day = Math.round((nowMs - START_MS) / DAY_MS);
    expect(
      trusted.some((each) => leaf.checkIssued(each) && leaf.verify(each.publicKey)),
      `day ${day}`,
    ).toBe(true);
    expect(leaf.validToDate.getTime()).toBeGreaterThan(renewed.renewAtMs);
    // A client reads the bundle some time after it was written, and before the next turn.
    clientTrusts = renewed.leaf['ca.crt'] ?? '';
  }
  expect(turns).toEqual(['announce', 'promote']);
  expect(readBundle(clientTrusts)).toHaveLength(1);
});

test('whatever is in the Secrets, a plan comes out and its result is stable', () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom(...Object.values(first.leaf), ...Object.values(fresh.authority), undefined),
  );
  const secret = fc.dictionary(fc.constantFrom('tls.crt', 'tls.key', 'ca.crt', 'next.crt', 'next.key'), text);
  fc.assert(
    fc.property(secret, secret, (authority, leaf) => {
      const renewed = renew(START_MS, { authority: authority as SecretText, leaf: leaf as SecretText });
      expect(renew(START_MS, renewed).hasChanged).toBe(false);
    }),
    { numRuns: 60 },
  );
});
