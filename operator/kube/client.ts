// The verbs of the Kubernetes API over any kind of object. Bytes and connections are the transport's.
//   A1. `get` answers undefined for what is not there; every other no is a KubeError.
//   A2. Lists are read in pages. When the version of a list expires between pages, it is read once in one
//       piece.
import { isGone, KubeError } from './errors.ts';
import type { KubeObject, Name, Resource } from './objects.ts';
import { apiVersionOf, pathOf } from './objects.ts';
import type { Transport } from './transport.ts';

export interface ListOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly pageSize?: number;
  /** Names, labels and owners only. */
  readonly metadataOnly?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly version: string;
  /** The first page of a list that was started again. */
  readonly restarted: boolean;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  | { readonly type: 'BOOKMARK'; readonly object: KubeObject }
  | { readonly type: 'ERROR'; readonly object: { code?: number; reason?: string; message?: string } };

export interface WatchOptions extends ListOptions {
  readonly version: string;
  /** The server ends the watch after this time. */
  readonly forSeconds: number;
  /** Silence after which the connection counts as dead. */
  readonly idleMs: number;
}

export interface PatchOptions {
  readonly type: 'json' | 'merge' | 'apply';
  readonly fieldManager?: string;
  readonly force?: boolean;
  readonly subresource?: string;
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface DeleteOptions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
  readonly signal?: AbortSignal | undefined;
}

export interface Client {
  /** `subresource` such as `scale`. */
  get<T extends KubeObject>(
    resource: Resource<T>,
    at: Name,
    signal?: AbortSignal,
    subresource?: string,
  ): Promise<T | undefined>;
  pages<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): AsyncGenerator<Page<T>, void>;
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<T[]>;
  watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>, void>;
  create<T extends KubeObject>(resource: Resource<T>, object: T, signal?: AbortSignal): Promise<T>;
  /** The object's own resourceVersion must still be the server's. */
  replace<T extends KubeObject>(resource: Resource<T>, object: T, signal?: AbortSignal): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource<T>,
    at: Name,
    body: unknown,
    options: PatchOptions,
  ): Promise<T>;
  delete(resource: Resource, at: Name, options?: DeleteOptions): Promise<void>;
}

const PAGE_SIZE = 250;
const LINE_BYTES_MAX = 16 * 1024 * 1024;
const METADATA = 'as=PartialObjectMetadata';
const PATCH_TYPES = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  // JSON is YAML.
  apply: 'application/apply-patch+yaml',
};

export function createClient(transport: Transport): Client {
  return {
    async get(resource, at, signal, subresource) {
      try {
        return await transport.call({ method: 'GET', path: pathOf(resource, at, subresource), signal });
      } catch (error) {
        if (error instanceof KubeError && error.status === 404) return undefined;
        throw error;
      }
    },
    pages: (resource, options = {}) => pages(transport, resource, options),
    async list(resource, options = {}) {
      let all: KubeObject[] = [];
      for await (const page of pages(transport, resource, options)) {
        all = page.restarted ? [...page.items] : all.concat(page.items);
      }
      return all as never;
    },
    watch: (resource, options) => watch(transport, resource, options),
    create: (resource, object, signal) =>
      transport.call({
        method: 'POST',
        path: pathOf(resource, { namespace: object.metadata.namespace }),
        body: typed(resource, object),
        signal,
      }),
    replace: (resource, object, signal) =>
      transport.call({
        method: 'PUT',
        path: pathOf(resource, object.metadata),
        body: typed(resource, object),
        signal,
      }),
    patch: (resource, at, body, { type, subresource, signal, ...o }) =>
      transport.call({
        method: 'PATCH',
        path: pathOf(resource, at, subresource),
        query: {
          fieldManager: o.fieldManager,
          force: o.force || undefined,
          dryRun: o.dryRun ? 'All' : undefined,
        },
        body,
        contentType: PATCH_TYPES[type],
        signal,
      }),
    async delete(resource, at, { uid, resourceVersion, propagation, signal } = {}) {
      const preconditions = uid || resourceVersion ? { uid, resourceVersion } : undefined;
      await transport.call({
        method: 'DELETE',
        path: pathOf(resource, at),
        body: { kind: 'DeleteOptions', apiVersion: 'v1', preconditions, propagationPolicy: propagation },
        signal,
      });
    },
  };
}

function typed<T extends KubeObject>(resource: Resource<T>, object: T): T {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

interface ListAnswer<T> {
  readonly items?: readonly T[] | null;
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
}

async function* pages<T extends KubeObject>(transport: Transport, resource: Resource<T>, o: ListOptions) {
  const accept = o.metadataOnly
    ? `application/json;${METADATA}List;g=meta.k8s.io;v=v1,application/json`
    : undefined;
  let limit: number | undefined = o.pageSize ?? PAGE_SIZE;
  let token: string | undefined;
  let restarted = false;
  for (;;) {
    const query = { ...selectors(o), limit, continue: token };
    let page: ListAnswer<T>;
    try {
      page = await transport.call<ListAnswer<T>>({
        method: 'GET',
        path: pathOf(resource, { namespace: o.namespace }),
        query,
        signal: o.signal,
        ...(accept !== undefined && { accept }),
      });
    } catch (error) {
      if (token === undefined || !isGone(error)) throw error;
      // A2: reading in pages took longer than the server keeps a version.
      [token, limit, restarted] = [undefined, undefined, true];
      continue;
    }
    yield { items: page.items ?? [], version: page.metadata.resourceVersion ?? '', restarted };
    restarted = false;
    token = page.metadata.continue || undefined;
    if (token === undefined) return;
  }
}

async function* watch<T extends KubeObject>(
  transport: Transport,
  resource: Resource<T>,
  o: WatchOptions,
): AsyncGenerator<WatchEvent<T>, void> {
  const chunks = await transport.open({
    method: 'GET',
    path: pathOf(resource, { namespace: o.namespace }),
    query: {
      ...selectors(o),
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: o.version,
      timeoutSeconds: o.forSeconds,
    },
    ...(o.metadataOnly && { accept: `application/json;${METADATA};g=meta.k8s.io;v=v1,application/json` }),
    idleMs: o.idleMs,
    signal: o.signal,
  });
  for await (const line of linesOf(chunks)) yield JSON.parse(line) as WatchEvent<T>;
}

function selectors({ labelSelector, fieldSelector }: ListOptions) {
  return { labelSelector, fieldSelector };
}

/** Whole lines only: what a cut connection left behind is not an event. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...rest, chunk.subarray(from, end)]).toString('utf8');
      [rest, restBytes, from] = [[], 0, end + 1];
      if (line !== '') yield line;
    }
    if (from === chunk.length) continue;
    rest.push(chunk.subarray(from));
    restBytes += chunk.length - from;
    if (restBytes > LINE_BYTES_MAX) throw new Error(`a watch event is larger than ${LINE_BYTES_MAX} bytes`);
  }
}
