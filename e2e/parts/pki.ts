// The certificates of a cluster, made by openssl: one authority, one leaf for everybody who speaks.

import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];

export interface Leaf {
  readonly cert: string;
  readonly key: string;
}

export interface Pki {
  readonly caFile: string;
  readonly caKeyFile: string;
  /** Signs and checks the tokens of service accounts. */
  readonly serviceAccounts: { readonly key: string; readonly pub: string };
  /** Files of a certificate for a client: a user and the groups it is in. */
  client(user: string, groups?: readonly string[]): Promise<Leaf>;
  /** Files of a certificate for a server under these names (`DNS:a`, `IP:1.2.3.4`). */
  server(name: string, altNames: readonly string[], groups?: readonly string[]): Promise<Leaf>;
}

export async function createPki(dir: string): Promise<Pki> {
  mkdirSync(dir, { recursive: true });
  const file = (name: string) => join(dir, name);
  // The system's own configuration would make every leaf an authority.
  writeFileSync(file('openssl.cnf'), '[req]\ndistinguished_name=name\n[name]\n');
  const req = (args: string[]) =>
    exec('openssl', ['req', '-x509', '-new', '-config', file('openssl.cnf'), '-days', '365', ...EC, ...args]);
  const caFile = file('ca.crt');
  const caKeyFile = file('ca.key');
  await req([
    ...['-keyout', caKeyFile, '-out', caFile, '-subj', '/CN=flowmesh-e2e'],
    ...[
      '-addext',
      'basicConstraints=critical,CA:TRUE',
      '-addext',
      'keyUsage=critical,keyCertSign,digitalSignature',
    ],
  ]);
  let count = 0;
  const leaf = async (user: string, groups: readonly string[], extensions: string[]): Promise<Leaf> => {
    count += 1;
    const base = file(`${count}-${user.replaceAll(/[^\w-]/g, '-')}`);
    const subject = [...groups.map((group) => `/O=${escaped(group)}`), `/CN=${escaped(user)}`].join('');
    await req([
      ...['-keyout', `${base}.key`, '-out', `${base}.crt`, '-CA', caFile, '-CAkey', caKeyFile],
      ...['-subj', subject, '-addext', 'basicConstraints=critical,CA:FALSE'],
      ...extensions.flatMap((extension) => ['-addext', extension]),
    ]);
    return { cert: `${base}.crt`, key: `${base}.key` };
  };
  return {
    caFile,
    caKeyFile,
    serviceAccounts: serviceAccountKeys(file('sa.key'), file('sa.pub')),
    client: (user, groups = []) => leaf(user, groups, ['extendedKeyUsage=clientAuth']),
    server: (name, altNames, groups = []) =>
      leaf(name, groups, ['extendedKeyUsage=serverAuth,clientAuth', `subjectAltName=${altNames.join(',')}`]),
  };
}

function escaped(text: string): string {
  return text.replaceAll(/[\\/]/g, '\\$&');
}

function serviceAccountKeys(key: string, pub: string) {
  const pair = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  writeFileSync(key, pair.privateKey, { mode: 0o600 });
  writeFileSync(pub, pair.publicKey);
  return { key, pub };
}

export function writeKubeconfig(path: string, server: string, pki: Pki, { cert, key }: Leaf): string {
  const data = (file: string) => readFileSync(file).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'e2e', cluster: { server, 'certificate-authority-data': data(pki.caFile) } }],
    users: [{ name: 'user', user: { 'client-certificate-data': data(cert), 'client-key-data': data(key) } }],
    contexts: [{ name: 'e2e', context: { cluster: 'e2e', user: 'user', namespace: 'default' } }],
    'current-context': 'e2e',
  };
  // JSON is YAML, and every reader of these files reads both.
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  return path;
}
