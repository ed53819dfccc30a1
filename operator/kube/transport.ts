// HTTP to the API server: kept-alive connections, bounded answers, deadlines, one retry where it is safe.
//   T1. Plain calls share at most SOCKETS_MAX connections; every watch has its own.
//   T2. A call ends at its deadline, a stream when nothing came for `idleMs`: half-open connections are
//       noticed.
//   T3. A call is repeated only if its kept-alive connection turned out to be dead, or the server said 401
//       (once, with fresh credentials) or 429 / 503 with Retry-After (`retriesMax` times).
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type Runtime, sleep } from '../runtime.ts';
import { AgentSlot } from './agents.ts';
import type { Credentials } from './credentials.ts';
import { type ApiStatus, errorOfStatus, isUnauthorized, KubeError } from './errors.ts';
import { Silence } from './silence.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Transport {
  /** The parsed body; KubeError for anything but 2xx. */
  call<T>(request: ApiRequest): Promise<T>;
  /** The body as it comes, until the server, `signal` or silence of `idleMs` ends it. */
  open(request: ApiRequest & { readonly idleMs: number }): Promise<AsyncIterable<Buffer>>;
  close(): void;
}

export interface TransportOptions {
  readonly credentials: Credentials;
  readonly runtime: Runtime;
  readonly userAgent: string;
  /** For rest_client_requests_total; `code` is `<error>` when no answer came. */
  readonly onAnswer?: (answer: { method: string; host: string; code: string }) => void;
}

const SOCKETS_MAX = 16;
const TIMEOUT_MS = 30_000;
const BODY_BYTES_MAX = 256 * 1024 * 1024;
const ERROR_BYTES_MAX = 64 * 1024;
const RETRIES_MAX = 3;
const RETRY_AFTER_MS_MAX = 10_000;

export function createTransport(o: TransportOptions): Transport {
  const agents = { calls: new AgentSlot(SOCKETS_MAX), watches: new AgentSlot(Number.POSITIVE_INFINITY) };
  const call = async <T>(request: ApiRequest): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      const deadline = new Silence(o.runtime, request.timeoutMs ?? TIMEOUT_MS, request.signal);
      try {
        const response = await send(o, agents.calls, request, deadline.signal);
        const text = await readAll(response, BODY_BYTES_MAX);
        return (text === '' ? undefined : JSON.parse(text)) as T;
      } catch (error) {
        deadline.end();
        const waitMs = retryMs(error, request, attempt, o.credentials);
        if (waitMs === undefined || request.signal?.aborted) throw unreachable(error, request);
        await sleep(o.runtime, waitMs, request.signal);
      } finally {
        deadline.end();
      }
    }
  };
  return {
    call,
    async open(request) {
      const silence = new Silence(o.runtime, request.idleMs, request.signal);
      try {
        const response = await send(o, agents.watches, request, silence.signal);
        return chunksOf(response, silence, request);
      } catch (error) {
        silence.end();
        if (isUnauthorized(error)) o.credentials.forget();
        throw unreachable(error, request);
      }
    },
    close() {
      agents.calls.close();
      agents.watches.close();
    },
  };
}

async function send(o: TransportOptions, slot: AgentSlot, request: ApiRequest, signal: AbortSignal) {
  const access = await o.credentials.access();
  const url = new URL(o.credentials.server + request.path);
  for (const [name, value] of Object.entries(request.query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, `${value}`);
  }
  const body = request.body === undefined ? undefined : JSON.stringify(request.body);
  const headers = {
    ...access.headers,
    accept: request.accept ?? 'application/json',
    'user-agent': o.userAgent,
    ...(body !== undefined && {
      'content-type': request.contentType ?? 'application/json',
      'content-length': Buffer.byteLength(body),
    }),
  };
  const { method } = request;
  const tell = (code: string) => o.onAnswer?.({ method, host: url.host, code });
  let response: IncomingMessage;
  try {
    response = await exchange(url, { method, headers, signal, agent: slot.agentFor(url, access) }, body);
  } catch (error) {
    tell('<error>');
    throw error;
  }
  const status = response.statusCode ?? 0;
  tell(`${status}`);
  if (status >= 200 && status < 300) return response;
  const what = `${method} ${url.pathname}`;
  throw errorOfStatus(what, await statusIn(response), status, retryAfterOf(response));
}

interface Exchange {
  method: string;
  headers: Record<string, string | number>;
  signal: AbortSignal;
  agent: Agent;
}

function exchange(url: URL, o: Exchange, body: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'http:' ? httpRequest : httpsRequest)(url, o, resolve);
    request.on('error', (error: NodeJS.ErrnoException) => {
      // T3: the server had closed this connection before it saw the call.
      const dead = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      reject(dead ? new DeadConnection(error) : error);
    });
    request.end(body);
  });
}

class DeadConnection extends Error {
  constructor(cause: unknown) {
    super('a kept-alive connection had ended', { cause });
  }
}

function retryMs(error: unknown, request: ApiRequest, attempt: number, credentials: Credentials) {
  // A POST may have been done although its answer was lost; everything else can be said twice.
  if (error instanceof DeadConnection) return attempt === 1 && request.method !== 'POST' ? 0 : undefined;
  if (isUnauthorized(error)) {
    credentials.forget();
    return attempt === 1 ? 0 : undefined;
  }
  const after = error instanceof KubeError ? error.retryAfterMs : undefined;
  const busy = error instanceof KubeError && (error.status === 429 || error.status === 503);
  if (!busy || after === undefined || attempt > RETRIES_MAX) return undefined;
  return Math.min(after, RETRY_AFTER_MS_MAX);
}

function unreachable(error: unknown, { method, path }: ApiRequest): unknown {
  if (error instanceof KubeError) return error;
  const why = error instanceof Error ? error.message : `${error}`;
  return new KubeError(`${method} ${path}: no answer from the API server (${why})`, {
    status: 0,
    reason: 'Unreachable',
    cause: error,
  });
}

function retryAfterOf(response: IncomingMessage): number | undefined {
  const seconds = Number(response.headers['retry-after']);
  return Number.isFinite(seconds) ? seconds * 1000 : undefined;
}

async function statusIn(response: IncomingMessage): Promise<ApiStatus> {
  const text = await readAll(response, ERROR_BYTES_MAX).catch(() => '');
  try {
    return JSON.parse(text) as ApiStatus;
  } catch {
    return { message: text.slice(0, 500) || response.statusMessage || 'no message' };
  }
}

async function readAll(response: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error(`the answer is larger than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function* chunksOf(response: IncomingMessage, silence: Silence, request: ApiRequest) {
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      silence.broken();
      yield chunk;
    }
  } catch (error) {
    if (!request.signal?.aborted) throw unreachable(error, request);
  } finally {
    silence.end();
    response.destroy();
  }
}
