// What the tests of the webhook share: a certificate of its own, a client that trusts it, reviews.
import { Agent, request as httpsRequest } from 'node:https';
import type { SecretText } from '../../../operator/resources/certificate-plan.ts';
import { renewCertificates } from '../../../operator/resources/certificates.ts';
import { realKeys } from '../../../operator/resources/key-source.ts';

export const NAMES = ['localhost', '127.0.0.1'];

export function issue(nowMs = Date.now(), before: { authority?: SecretText; leaf?: SecretText } = {}) {
  return renewCertificates({ name: 'flowmesh-webhook', names: NAMES, nowMs, ...before }, realKeys);
}

export const presentable = ({ leaf }: { leaf: SecretText }) => ({
  cert: leaf['tls.crt'] ?? '',
  key: leaf['tls.key'] ?? '',
});

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

interface Post {
  readonly port: number;
  readonly ca: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly agent?: Agent;
}

/** By a connection and a handshake of its own, unless an agent says otherwise. */
export function post(o: Post, body: string | Buffer = ''): Promise<Reply> {
  const { port, ca, path = '/validate', method = 'POST', agent = new Agent({ maxCachedSessions: 0 }) } = o;
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    ...o.headers,
  };
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, ca, path, method, headers, agent };
    const request = httpsRequest(options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
      );
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

export function reviewOf(spec: object, more: object = {}): string {
  const metadata = { name: 'emails', namespace: 'shop' };
  const request = {
    ...{ uid: 'u1', operation: 'CREATE', name: 'emails', namespace: 'shop' },
    kind: { group: 'flowmesh.io', version: 'v1alpha1', kind: 'Queue' },
    object: { apiVersion: 'flowmesh.io/v1alpha1', kind: 'Queue', metadata, spec },
    ...more,
  };
  return JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request });
}

export const BAD = { schedules: [{ name: 'nightly', cron: '0 3 31 2 *' }] };
