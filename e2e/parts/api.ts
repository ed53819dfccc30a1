// The few calls that the harness itself makes to an API server: JSON over HTTPS with a client certificate.

import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { text } from 'node:stream/consumers';
import { parse } from 'yaml';

export interface Answer {
  readonly status: number;
  /** Parsed when it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: objects of any kind, read by who asked for them
  readonly body: any;
}

export interface Api {
  (method: string, path: string, body?: unknown, contentType?: string): Promise<Answer>;
  close(): void;
}

const TIMEOUT_MS = 15_000;

export function apiOf(kubeconfig: string): Api {
  const { clusters, users } = parse(readFileSync(kubeconfig, 'utf8'));
  const { server, 'certificate-authority-data': ca } = clusters[0].cluster;
  const { 'client-certificate-data': cert, 'client-key-data': key } = users[0].user;
  const pem = (data: string) => Buffer.from(data, 'base64');
  const agent = new Agent({ keepAlive: true, ca: pem(ca), cert: pem(cert), key: pem(key) });
  const call = async (method: string, path: string, body?: unknown, contentType = 'application/json') => {
    const { promise, resolve, reject } = Promise.withResolvers<import('node:http').IncomingMessage>();
    const headers = body === undefined ? {} : { 'content-type': contentType };
    const sent = request(new URL(path, server), { method, agent, headers, timeout: TIMEOUT_MS }, resolve);
    sent
      .on('error', reject)
      .on('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer in time`)));
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const response = await promise;
    const raw = await text(response);
    const isJson = response.headers['content-type']?.startsWith('application/json') === true;
    return { status: response.statusCode ?? 0, body: isJson ? JSON.parse(raw) : raw };
  };
  return Object.assign(call, { close: () => agent.destroy() });
}
