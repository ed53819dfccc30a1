// The HTTPS server that the API server asks: POST /validate with an AdmissionReview, one back.
//   V1. Connections, bytes and times are bounded. What is beyond gets an answer that says so; 429 with
//       Retry-After is one that the API server comes back from by itself.
//   V2. A certificate takes effect for the next handshake; what is under way goes on. Without one no
//       handshake succeeds.
//   V3. Whatever is sent, the process goes on: a mistake of ours is a 500, which counts as no answer, so
//       that the policy of the configuration decides.
//   V4. Draining, it serves on and asks each client to come back by another connection, so to another pod.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { KubeLog } from '../kube/telemetry.ts';
import { BadReview, type Decision, type Request, readReview, reviewOf } from './review.ts';

export interface WebhookServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly decide: (request: Request) => Decision;
  readonly log: KubeLog;
  readonly monotonicMs: () => number;
  readonly meter: WebhookMeter;
}

export interface WebhookMeter {
  began(): void;
  answered(code: number, seconds: number): void;
  decided(kind: string, allowed: boolean): void;
}

export interface WebhookServer {
  readonly port: number;
  /** PEM; for handshakes from now on (V2). Throws where key and certificate do not fit. */
  present(certificate: { readonly cert: string; readonly key: string }): void;
  /** V4. */
  drain(): void;
  close(): Promise<void>;
}

const PATH = '/validate';
const CONNECTIONS_MAX = 256;
/** An object has at most 3 MiB, and an update comes with both. */
export const BODY_BYTES_MAX = 7 * 1024 * 1024;
/** Of all requests at once: the operator has a quarter of a gigabyte. */
export const BODIES_BYTES_MAX = 32 * 1024 * 1024;
const HANDSHAKE_MS = 5_000;
const HEADERS_MS = 5_000;
/** The API server waits 10 s by default, 30 s at most. */
const REQUEST_MS = 10_000;
/** It drops idle connections after 90 s: were we first, a call could meet its own connection's end. */
const IDLE_MS = 120_000;
const LOOK_MS = 1_000;

export async function serveWebhook(o: WebhookServerOptions): Promise<WebhookServer> {
  const desk = new Desk(o);
  const limits = {
    ...{ handshakeTimeout: HANDSHAKE_MS, headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS },
    ...{ keepAliveTimeout: IDLE_MS, connectionsCheckingInterval: LOOK_MS },
  };
  const server = createServer({ ...limits, minVersion: 'TLSv1.2' }, (request, response) => {
    void desk.serve(request, response);
  });
  server.maxConnections = CONNECTIONS_MAX;
  // V3: handshakes that fail, among them all before the first certificate.
  server.on('tlsClientError', (err, socket) => {
    o.log.debug({ event: 'webhook.handshake-failed', err }, 'no handshake');
    socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(o.port, o.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    present: ({ cert, key }) => server.setSecureContext({ cert, key, minVersion: 'TLSv1.2' }),
    drain: () => desk.drain(),
    close: () =>
      new Promise((resolve) => {
        desk.drain();
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const plain = (code: number, text: string, headers = {}): Answer => ({
  code,
  body: `${text}\n`,
  headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
});

class Desk {
  readonly #o: WebhookServerOptions;
  /** Of bodies that are being read or judged. */
  #bytes = 0;
  #isDraining = false;

  constructor(options: WebhookServerOptions) {
    this.#o = options;
  }

  drain(): void {
    this.#isDraining = true;
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { meter, monotonicMs, log } = this.#o;
    const startedMs = monotonicMs();
    meter.began();
    let answer: Answer;
    try {
      answer = refusalOf(request) ?? (await this.#judge(request));
    } catch (err) {
      // V3. A client that went away in the middle of its request hears nothing of it.
      if (!request.destroyed || request.complete)
        log.error({ event: 'webhook.failed', err }, 'cannot judge an object');
      answer = plain(500, 'the webhook has failed: see the log of the operator');
    }
    meter.answered(answer.code, (monotonicMs() - startedMs) / 1000);
    // A body that was not read to its end would be taken for the next request.
    const ends = this.#isDraining || !request.complete;
    response.writeHead(answer.code, { ...answer.headers, ...(ends && { connection: 'close' }) });
    response.end(answer.body);
  }

  async #judge(request: IncomingMessage): Promise<Answer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      // Not `for await`: leaving it early would destroy the connection that the answer has to go by.
      const refused = await new Promise<Answer | undefined>((resolve, reject) => {
        request.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          this.#bytes += chunk.length;
          const no = bytes > BODY_BYTES_MAX ? TOO_LARGE : this.#bytes > BODIES_BYTES_MAX ? BUSY : undefined;
          if (no === undefined) chunks.push(chunk);
          else {
            request.pause().removeAllListeners('data');
            resolve(no);
          }
        });
        request.once('end', () => resolve(undefined));
        request.once('error', reject);
      });
      return refused ?? this.#decide(Buffer.concat(chunks).toString('utf8'));
    } finally {
      this.#bytes -= bytes;
    }
  }

  #decide(text: string): Answer {
    const { decide, meter, log } = this.#o;
    let asked: Request;
    try {
      asked = readReview(text);
    } catch (error) {
      if (error instanceof BadReview) return plain(400, error.message);
      throw error;
    }
    const decision = decide(asked);
    const { kind, namespace, name, operation } = asked;
    meter.decided(kind.kind, decision.allowed);
    if (!decision.allowed) {
      const of = { kind: kind.kind, namespace, name, operation, message: decision.message };
      log.debug({ event: 'webhook.refused', ...of }, 'refused an object');
    }
    const headers = { 'content-type': 'application/json' };
    return { code: 200, body: JSON.stringify(reviewOf(asked, decision)), headers };
  }
}

const TOO_LARGE = plain(413, `the body has more than ${BODY_BYTES_MAX} bytes`);
const BUSY = plain(429, 'too many large objects at once: try again', { 'retry-after': '1' });

/** What can be said before the body. */
function refusalOf({ url = '', method, headers }: IncomingMessage): Answer | undefined {
  if (url.split('?', 1)[0] !== PATH) return plain(404, `not here: POST an AdmissionReview to ${PATH}`);
  if (method !== 'POST') return plain(405, 'only POST', { allow: 'POST' });
  if (!/^application\/json\s*(?:;|$)/i.test(headers['content-type'] ?? ''))
    return plain(415, 'the content type is not application/json');
  return Number(headers['content-length'] ?? 0) > BODY_BYTES_MAX ? TOO_LARGE : undefined;
}
