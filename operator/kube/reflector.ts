// Keeps one collection (a kind, in one namespace or in all) up to date: list, then watch from the list's
// version.
//   R1. Between a list and the end of its watch nothing is missed: a cut watch goes on from the last version
//       seen, by an event or a bookmark.
//   R2. When that version is gone (410, also in the middle of a watch) or unknown to the server, it lists
//       again; what the list lacks was deleted meanwhile.
//   R3. Failures back off with jitter, from BACKOFF.baseMs to BACKOFF.maxMs; only a watch that lived resets
//       it.
//   R4. It holds one page or one event at a time.
import { type Runtime, sleep } from '../runtime.ts';
import { backoffMs } from './backoff.ts';
import type { Client, ListOptions, WatchEvent } from './client.ts';
import { errorOfStatus, isGone, isNotFound, isTooLargeVersion } from './errors.ts';
import { type Key, type KubeObject, keyOf, type Resource } from './objects.ts';

export type RelistReason = 'start' | 'gone' | 'unknown-version';

/** What a reflector found out. */
export interface Sink<T> {
  listed(object: T): void;
  /** The list is complete: `keys` are all that there are. */
  complete(keys: ReadonlySet<Key>): void;
  put(object: T): void;
  remove(object: T): void;
  /** A state of the connection: for logs and metrics. */
  on(event: ReflectorEvent): void;
}

export type ReflectorEvent =
  | { readonly kind: 'listed'; readonly reason: RelistReason; readonly objects: number }
  | { readonly kind: 'failed'; readonly error: unknown; readonly failures: number; readonly waitMs: number }
  | { readonly kind: 'recovered'; readonly failures: number }
  /** The API is not installed. */
  | { readonly kind: 'absent' };

export interface ReflectorOptions<T extends KubeObject> {
  readonly resource: Resource<T>;
  readonly client: Client;
  readonly runtime: Runtime;
  readonly list: ListOptions;
  readonly sink: Sink<T>;
  /** The API may not be served: then there are no objects, and it looks again now and then. */
  readonly optional: boolean;
}

const BACKOFF = { baseMs: 500, maxMs: 30_000 };
const ABSENT_LOOK_MS = 60_000;
/** client-go asks for 5 to 10 minutes too; the servers' restarts spread over it. */
const WATCH_SECONDS = 300;
/** Bookmarks come about every minute, also when nothing changes. */
const IDLE_MS = 150_000;
/** A watch that lasted this long, or that brought anything, was a good one. */
const LIVED_MS = 5_000;

export async function reflect<T extends KubeObject>(
  o: ReflectorOptions<T>,
  signal: AbortSignal,
): Promise<void> {
  const position: Position = { version: undefined, reason: 'start', failures: 0 };
  while (!signal.aborted) {
    const startedMs = o.runtime.monotonicMs();
    let waitMs = 0;
    try {
      if (position.version === undefined) await listAll(o, position, signal);
      await watchOn(o, position, signal);
      const lived = o.runtime.monotonicMs() - startedMs >= LIVED_MS;
      // Ended by the server: at once again, unless it does so every time.
      if (!lived && position.failures > 0)
        waitMs = backoffMs(++position.failures, BACKOFF, o.runtime.random());
      else if (!lived) position.failures = 1;
      else recovered(o.sink, position);
    } catch (error) {
      if (signal.aborted) return;
      waitMs = afterFailure(o, position, error);
    }
    if (waitMs > 0) await sleep(o.runtime, waitMs, signal);
  }
}

interface Position {
  /** Undefined: list first. */
  version: string | undefined;
  reason: RelistReason;
  /** In a row. */
  failures: number;
}

async function listAll<T extends KubeObject>(
  { client, resource, list, sink }: ReflectorOptions<T>,
  position: Position,
  signal: AbortSignal,
): Promise<void> {
  let keys = new Set<Key>();
  let version = '';
  for await (const page of client.pages(resource, { ...list, signal })) {
    if (page.restarted) keys = new Set();
    for (const object of page.items) {
      keys.add(keyOf(object.metadata));
      sink.listed(object);
    }
    version = page.version;
  }
  sink.complete(keys);
  sink.on({ kind: 'listed', reason: position.reason, objects: keys.size });
  position.version = version;
}

async function watchOn<T extends KubeObject>(
  { client, resource, list, runtime, sink }: ReflectorOptions<T>,
  position: Position,
  signal: AbortSignal,
): Promise<void> {
  // R1: the version is set by listAll, or was left by the watch before.
  const version = position.version ?? '';
  const forSeconds = Math.round(WATCH_SECONDS * (1 + runtime.random()));
  const options = { ...list, version, forSeconds, idleMs: IDLE_MS, signal };
  for await (const event of client.watch(resource, options)) {
    if (event.type === 'ERROR') throw errorOfStatus(`watch ${resource.plural}`, event.object, 500);
    if (event.type === 'DELETED') sink.remove(event.object);
    else if (event.type !== 'BOOKMARK') sink.put(event.object);
    position.version = versionOf(event) ?? position.version;
    // A proxy that cuts every connection after a bookmark must not make us spin.
    if (event.type !== 'BOOKMARK') recovered(sink, position);
  }
}

function versionOf<T extends KubeObject>(
  event: Exclude<WatchEvent<T>, { type: 'ERROR' }>,
): string | undefined {
  return event.object.metadata.resourceVersion || undefined;
}

function recovered<T>(sink: Sink<T>, position: Position): void {
  if (position.failures > 1) sink.on({ kind: 'recovered', failures: position.failures });
  position.failures = 0;
}

/** How long to wait. */
function afterFailure<T extends KubeObject>(
  o: ReflectorOptions<T>,
  position: Position,
  error: unknown,
): number {
  if (o.optional && isNotFound(error)) {
    position.version = undefined;
    o.sink.on({ kind: 'absent' });
    o.sink.complete(new Set());
    return ABSENT_LOOK_MS * (1 + o.runtime.random() / 10);
  }
  position.failures++;
  if (isGone(error)) [position.version, position.reason] = [undefined, 'gone'];
  if (isTooLargeVersion(error)) [position.version, position.reason] = [undefined, 'unknown-version'];
  // R2: the first 410 says where to go on; it is no trouble.
  if (isGone(error) && position.failures === 1) return 0;
  const waitMs = backoffMs(position.failures, BACKOFF, o.runtime.random());
  o.sink.on({ kind: 'failed', error, failures: position.failures, waitMs });
  return waitMs;
}
