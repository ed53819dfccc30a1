// A small real HTTP server that speaks the Kubernetes API as far as the client does: get, paginated list,
// watch with bookmarks and 410, create, replace, the three patches, delete; with faults at the test's
// command. It merges an apply like a merge patch and knows field managers only by `conflicts`: what
// server-side apply really does is tested against a real API server (test/kube).
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { KubeObject } from '../../../operator/kube/objects.ts';

interface Logged {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly path: string;
  readonly object: Stored;
}

type Stored = KubeObject & { [field: string]: unknown };

interface Watcher {
  readonly prefix: string;
  readonly response: ServerResponse;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly contentType: string;
  readonly body: unknown;
}

export class FakeApi {
  readonly requests: SeenRequest[] = [];
  /** The next requests that match get this answer instead. */
  readonly faults: { match: (request: SeenRequest) => boolean; answer: FaultAnswer }[] = [];
  /** Managers that hold fields: an apply without force by another one conflicts. */
  readonly conflicts = new Map<string, { manager: string; field: string }>();
  version = 100;
  /** Versions up to here are no longer in the history. */
  compacted = 0;
  readonly #objects = new Map<string, Stored>();
  readonly #log: Logged[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  #uids = 0;

  static async start(): Promise<FakeApi> {
    const api = new FakeApi();
    api.#server.on('connection', (socket) => {
      api.#sockets.add(socket);
      socket.on('close', () => api.#sockets.delete(socket));
    });
    api.#server.listen(0, '127.0.0.1');
    await once(api.#server, 'listening');
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cutAll();
    await once(this.#server, 'close');
  }

  /** Every connection ends in the middle of what it was saying. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** The server ends its watches, as it does after timeoutSeconds. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end();
  }

  bookmark(): void {
    const metadata = { resourceVersion: `${this.version}` };
    this.sendRaw(
      `${JSON.stringify({ type: 'BOOKMARK', object: { kind: 'X', apiVersion: 'v1', metadata } })}\n`,
    );
  }

  sendRaw(text: string): void {
    for (const { response } of this.#watchers) response.write(text);
  }

  /** Again what happened last. */
  repeatLast(): void {
    const last = this.#log.at(-1);
    if (last !== undefined) this.#tell(last);
  }

  get(path: string): Stored | undefined {
    return this.#objects.get(path);
  }

  /** `collection` such as /apis/flowmesh.io/v1alpha1/namespaces/a/queues. */
  put(collection: string, object: Partial<Stored> & { metadata: { name: string } }): Stored {
    const path = `${collection}/${object.metadata.name}`;
    const before = this.#objects.get(path);
    const namespace = /\/namespaces\/([^/]+)/.exec(collection)?.[1];
    const specChanged = JSON.stringify(before?.['spec']) !== JSON.stringify(object['spec']);
    const stored: Stored = {
      ...object,
      metadata: {
        ...before?.metadata,
        ...object.metadata,
        ...(namespace !== undefined && { namespace }),
        uid: before?.metadata.uid ?? `uid-${++this.#uids}`,
        resourceVersion: `${++this.version}`,
        generation: (before?.metadata.generation ?? 0) + (specChanged || before === undefined ? 1 : 0),
      },
    };
    this.#objects.set(path, stored);
    this.#happened({ type: before === undefined ? 'ADDED' : 'MODIFIED', path, object: stored });
    return stored;
  }

  /** With finalizers it only marks it. */
  remove(path: string): void {
    const before = this.#objects.get(path);
    if (before === undefined) return;
    if (before.metadata.finalizers?.length) {
      const metadata = { ...before.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' };
      this.put(path.slice(0, path.lastIndexOf('/')), { ...before, metadata });
      return;
    }
    this.#objects.delete(path);
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: `${++this.version}` } };
    this.#happened({ type: 'DELETED', path, object });
  }

  /** What happened before now is forgotten: resuming from there is 410. */
  compact(): void {
    this.compacted = this.version;
  }

  /** From a backup: versions start again from there. */
  restore(version: number): void {
    this.version = version;
    this.#log.length = 0;
  }

  #happened(entry: Omit<Logged, 'version'>): void {
    const logged = { ...entry, version: this.version };
    this.#log.push(logged);
    this.#tell(logged);
  }

  #tell({ path, type, object }: Logged): void {
    for (const { prefix, response } of this.#watchers) {
      if (matches(path, prefix)) response.write(`${JSON.stringify({ type, object })}\n`);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://fake');
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      contentType: request.headers['content-type'] ?? '',
      body: text === '' ? undefined : JSON.parse(text),
    };
    this.requests.push(seen);
    const at = this.faults.findIndex(({ match }) => match(seen));
    if (at !== -1) {
      const [fault] = this.faults.splice(at, 1);
      if (fault?.answer === 'cut') request.socket.destroy();
      else if (fault?.answer === 'lose') {
        request.socket.destroy();
        this.#watchers.clear();
        this.#write(seen, response);
      } else if (fault !== undefined && fault.answer !== 'hang') {
        say(response, fault.answer.status, statusOf(fault.answer), fault.answer.headers);
      }
      return;
    }
    if (seen.query.get('watch') === 'true') this.#watch(seen, response);
    else if (seen.method === 'GET') this.#read(seen, response);
    else this.#write(seen, response);
  }

  #read({ path, query }: SeenRequest, response: ServerResponse) {
    const one = this.#objects.get(path);
    if (one !== undefined) return say(response, 200, one);
    if (!isCollection(path)) return say(response, 404, statusOf({ status: 404, reason: 'NotFound' }));
    const token = query.get('continue');
    const [version = 0, from = ''] =
      token === null ? [this.version] : (JSON.parse(token) as [number, string]);
    if (version < this.compacted) return say(response, 410, statusOf({ status: 410, reason: 'Expired' }));
    const all = [...this.#objects]
      .filter(([each]) => matches(each, path))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const rest = all.filter(([each]) => each > from);
    const limit = Number(query.get('limit') ?? rest.length);
    const page = rest.slice(0, limit);
    const next = page.length < rest.length ? JSON.stringify([version, page.at(-1)?.[0]]) : undefined;
    const metadata = { resourceVersion: `${version}`, ...(next !== undefined && { continue: next }) };
    say(response, 200, { kind: 'List', metadata, items: page.map(([, object]) => object) });
  }

  #watch({ path, query }: SeenRequest, response: ServerResponse) {
    const from = Number(query.get('resourceVersion'));
    if (from > this.version) {
      const details = {
        causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      };
      return say(response, 504, { ...statusOf({ status: 504, reason: 'Timeout' }), details });
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < this.compacted) {
      response.end(
        `${JSON.stringify({ type: 'ERROR', object: statusOf({ status: 410, reason: 'Expired' }) })}\n`,
      );
      return;
    }
    const watcher = { prefix: path, response };
    this.#watchers.add(watcher);
    response.on('close', () => this.#watchers.delete(watcher));
    for (const { version, path: at, type, object } of this.#log) {
      if (version > from && matches(at, path)) response.write(`${JSON.stringify({ type, object })}\n`);
    }
  }

  #write(seen: SeenRequest, response: ServerResponse) {
    const { method, path, body } = seen;
    const status = path.endsWith('/status');
    const at = status ? path.slice(0, -'/status'.length) : path;
    const before = this.#objects.get(at);
    const no = (code: number, reason: string) => say(response, code, statusOf({ status: code, reason }));
    if (method === 'POST') {
      const object = body as Stored;
      if (this.#objects.has(`${at}/${object.metadata.name}`)) return no(409, 'AlreadyExists');
      return say(response, 201, this.put(at, object));
    }
    const isApply = seen.contentType.includes('apply-patch');
    if (before === undefined && (!isApply || status)) return no(404, 'NotFound');
    if (method === 'DELETE') {
      const { uid, resourceVersion } = (
        body as { preconditions?: { uid?: string; resourceVersion?: string } }
      ).preconditions ?? { uid: undefined, resourceVersion: undefined };
      const known = before?.metadata;
      if (uid !== undefined && uid !== known?.uid) return no(409, 'Conflict');
      if (resourceVersion !== undefined && resourceVersion !== known?.resourceVersion)
        return no(409, 'Conflict');
      this.remove(at);
      return say(response, 200, { kind: 'Status', status: 'Success' });
    }
    const collection = at.slice(0, at.lastIndexOf('/'));
    if (method === 'PUT') {
      const object = body as Stored;
      if (object.metadata.resourceVersion !== before?.metadata.resourceVersion) return no(409, 'Conflict');
      return say(response, 200, this.put(collection, object));
    }
    this.#patch(seen, { at, collection, before, status }, response);
  }

  #patch(
    { contentType, body, query }: SeenRequest,
    o: { at: string; collection: string; before: Stored | undefined; status: boolean },
    response: ServerResponse,
  ) {
    const { before } = o;
    if (contentType.includes('json-patch')) {
      const patched = jsonPatch(structuredClone(before) as Stored, body as JsonPatchStep[]);
      if (patched === undefined) return say(response, 422, statusOf({ status: 422, reason: 'Invalid' }));
      const stored = this.put(o.collection, patched);
      if (stored.metadata.deletionTimestamp && !stored.metadata.finalizers?.length) this.remove(o.at);
      return say(response, 200, stored);
    }
    const wanted = body as Stored;
    const conflict = this.conflicts.get(o.at);
    if (contentType.includes('apply-patch')) {
      if (wanted.metadata.uid !== undefined && wanted.metadata.uid !== before?.metadata.uid) {
        return say(response, 409, statusOf({ status: 409, reason: 'Conflict' }));
      }
      if (conflict !== undefined && query.get('force') !== 'true') {
        const message = `conflict with "${conflict.manager}" using v1`;
        const causes = [{ reason: 'FieldManagerConflict', message, field: conflict.field }];
        return say(response, 409, { ...statusOf({ status: 409, reason: 'Conflict' }), details: { causes } });
      }
    }
    const change = o.status ? { status: wanted['status'] } : wanted;
    say(response, 200, this.put(o.collection, merge(before ?? {}, change) as Stored));
  }
}

type FaultAnswer =
  | 'cut'
  /** It is written, but neither who asked nor any watch hears of it. */
  | 'lose'
  | 'hang'
  | { readonly status: number; readonly reason?: string; readonly headers?: Record<string, string> };

function say(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

function statusOf({ status, reason = '' }: { status: number; reason?: string }) {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    code: status,
    reason,
    message: `no: ${reason}`,
  };
}

const isCollection = (path: string) => path.split('/namespaces/')[1]?.split('/').length !== 3;

/** Of one namespace, or of all. */
function matches(path: string, collection: string): boolean {
  const inAll = path.replace(/\/namespaces\/[^/]+/, '');
  return path.startsWith(`${collection}/`) || inAll.startsWith(`${collection}/`);
}

interface JsonPatchStep {
  readonly op: 'test' | 'replace' | 'add';
  readonly path: string;
  readonly value: unknown;
}

function jsonPatch(object: Stored, steps: readonly JsonPatchStep[]): Stored | undefined {
  for (const { op, path, value } of steps) {
    const [, outer = '', field = ''] = path.split('/');
    const holder = object[outer] as Record<string, unknown>;
    if (op !== 'test') holder[field] = value;
    else if (JSON.stringify(holder[field]) !== JSON.stringify(value)) return undefined;
  }
  return object;
}

function merge(before: unknown, change: unknown): unknown {
  if (typeof change !== 'object' || change === null || Array.isArray(change)) return change;
  const base = typeof before === 'object' && before !== null && !Array.isArray(before) ? before : {};
  const merged: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(change)) merged[name] = merge(merged[name], value);
  return merged;
}
