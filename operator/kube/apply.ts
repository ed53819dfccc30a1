// All that a controller writes to Kubernetes, under its field manager.
//   A1. Nothing is sent that would change nothing. Whether it would is read off the live object at hand:
//       what we want and what the server made of it are remembered as fingerprints, so that quantities and
//       defaults that it writes differently are no difference. After a start each owned object is applied
//       once.
//   A2. A field that another manager has set is taken with force, and said: the caller gets who had what.
//   A3. A status goes to /status under a second manager, with the uid: never into an object that came after.
//   A4. Finalizers are JSON patches with tests: an apply would bring back what is gone.
//   A5. What is gone (404) or was replaced (another uid) needs no write. Without the lease nothing is
//       written.
//   A6. A status whose answer was lost may be there, while the watch that would bring it is cut, too: the
//       next one follows from what the server has, or each condition would have come to be once more.
import type { Client } from './client.ts';
import { isConflict, isNotFound, isRefusal, KubeError } from './errors.ts';
import { apiVersionOf, type KubeObject, keyOf, type Name, type Resource } from './objects.ts';
import { canonical, fingerprint, project } from './shapes.ts';
import type { KubeLog } from './telemetry.ts';

export interface WriterOptions {
  readonly client: Client;
  readonly fieldManager: string;
  readonly log: KubeLog;
  /** False as soon as the lease may be another's. */
  readonly mayWrite: () => boolean;
  /** Shows an answer to the informer of that kind, if there is one; answers what that keeps. */
  readonly observe?: <T extends KubeObject>(resource: Resource<T>, object: T) => T;
}

/** A field that another manager had set. */
export interface Takeover {
  readonly field: string;
  readonly manager: string;
}

export interface Applied<T> {
  readonly object: T;
  readonly written: boolean;
  readonly taken: readonly Takeover[];
}

type WithStatus = KubeObject & { status?: unknown };

/** Fingerprints: about 200 bytes each. */
const REMEMBERED_MAX = 50_000;
const FINALIZER_TRIES = 3;

export class Writer {
  readonly #o: WriterOptions;
  readonly #remembered = new Map<string, { wanted: string; made: string }>();
  /** Uids of those whose last status has an unknown outcome. */
  readonly #unsure = new Set<string | undefined>();

  constructor(options: WriterOptions) {
    this.#o = options;
  }

  /** `live` is what the informer holds: unset, it is always sent. */
  async apply<T extends KubeObject>(
    resource: Resource<T>,
    wanted: T,
    { live, signal }: { live?: T | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Applied<T>> {
    const id = `${resource.plural}.${resource.group} ${keyOf(wanted.metadata)}`;
    const fields = withoutType(wanted);
    if (live !== undefined && this.#isAsMade(id, fields, live))
      return { object: live, written: false, taken: [] };
    const body = { ...wanted, apiVersion: apiVersionOf(resource), kind: resource.kind };
    let taken: Takeover[] = [];
    let object: T;
    try {
      object = await this.#patch(resource, body, { signal });
    } catch (error) {
      taken = takeoversIn(error);
      if (taken.length === 0) throw error;
      this.#o.log.warn(
        { event: 'apply.taken', object: id, taken },
        'took fields that another manager had set',
      );
      object = await this.#patch(resource, body, { signal, force: true });
    }
    this.#remember(id, fields, this.#observed(resource, object));
    return { object, written: true, taken };
  }

  /** Whether it was written. `live` is the object that the status is about. */
  async applyStatus<T extends WithStatus>(
    resource: Resource<T>,
    live: T,
    status: T['status'],
    signal?: AbortSignal,
  ): Promise<boolean> {
    const id = `${resource.plural}.${resource.group}/status ${keyOf(live.metadata)} ${live.metadata.uid}`;
    if (sameStatus(live.status, status) || this.#isAsMade(id, status, live.status)) return false;
    const { name, namespace, uid } = live.metadata;
    const metadata = {
      name,
      ...(namespace !== undefined && { namespace }),
      ...(uid !== undefined && { uid }),
    };
    const body = { apiVersion: apiVersionOf(resource), kind: resource.kind, metadata, status };
    try {
      const options = { signal, force: true, subresource: 'status' };
      const object = await this.#patch(resource, body as never, options);
      this.#remember(id, status, this.#observed(resource, object as T).status);
      return true;
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return false;
      if (!isRefusal(error)) this.#unsure.add(uid);
      throw error;
    }
  }

  /** A6: `live`, or as the server has it, where that may be more; undefined when it is gone. */
  async settled<T extends KubeObject>(
    resource: Resource<T>,
    live: T,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const { uid } = live.metadata;
    if (!this.#unsure.has(uid)) return live;
    const object = await this.#o.client.get(resource, live.metadata, signal);
    this.#unsure.delete(uid);
    return object && this.#observed(resource, object);
  }

  /** Some fields of an object that is somebody else's, such as `/scale`; of what is gone, nothing (A5). */
  async merge<T extends KubeObject>(
    resource: Resource<T>,
    at: Name,
    change: unknown,
    { signal, subresource }: { signal?: AbortSignal; subresource?: string } = {},
  ): Promise<void> {
    this.#check();
    const { fieldManager } = this.#o;
    const options = { type: 'merge', fieldManager, signal, ...(subresource && { subresource }) } as const;
    try {
      await this.#o.client.patch(resource, at, change, options);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** `changed`: it is not the one that was meant any more. */
  async delete<T extends KubeObject>(
    resource: Resource<T>,
    live: T,
    options: {
      propagation?: 'Background' | 'Foreground' | 'Orphan';
      unchanged?: boolean;
      signal?: AbortSignal;
    } = {},
  ): Promise<'deleted' | 'gone' | 'changed'> {
    const { unchanged, ...o } = options;
    this.#check();
    const { uid, resourceVersion } = live.metadata;
    try {
      await this.#o.client.delete(resource, live.metadata, {
        uid,
        ...(unchanged && { resourceVersion }),
        ...o,
      });
    } catch (error) {
      if (isNotFound(error)) return 'gone';
      if (isConflict(error)) return 'changed';
      throw error;
    } finally {
      this.#remembered.delete(`${resource.plural}.${resource.group} ${keyOf(live.metadata)}`);
    }
    return 'deleted';
  }

  /** The object with it, or undefined: it is gone, or going and too late for a finalizer. */
  addFinalizer<T extends KubeObject>(
    resource: Resource<T>,
    live: T,
    finalizer: string,
    signal?: AbortSignal,
  ) {
    return this.#finalizers(resource, live, signal, (all) =>
      all.includes(finalizer) ? all : [...all, finalizer],
    );
  }

  removeFinalizer<T extends KubeObject>(
    resource: Resource<T>,
    live: T,
    finalizer: string,
    signal?: AbortSignal,
  ) {
    return this.#finalizers(resource, live, signal, (all) => all.filter((each) => each !== finalizer));
  }

  async #finalizers<T extends KubeObject>(
    resource: Resource<T>,
    live: T,
    signal: AbortSignal | undefined,
    change: (all: string[]) => string[],
  ): Promise<T | undefined> {
    let object: T | undefined = live;
    for (let tries = 1; ; tries++) {
      if (object === undefined || object.metadata.uid !== live.metadata.uid) return undefined;
      const before = object.metadata.finalizers ?? [];
      const after = change([...before]);
      if (after.length === before.length) return object;
      // The server lets nobody add finalizers to what is being deleted.
      if (after.length > before.length && object.metadata.deletionTimestamp !== undefined) return undefined;
      this.#check();
      try {
        const patch = finalizerPatch(object, after);
        const options = { type: 'json', fieldManager: this.#o.fieldManager, signal } as const;
        return this.#observed(resource, await this.#o.client.patch(resource, live.metadata, patch, options));
      } catch (error) {
        if (isNotFound(error)) return undefined;
        // A test that does not hold answers 422: somebody changed the finalizers meanwhile.
        const lost = isConflict(error) || (error instanceof KubeError && error.status === 422);
        if (!lost || tries === FINALIZER_TRIES) throw error;
        object = await this.#o.client.get(resource, live.metadata, signal);
      }
    }
  }

  async #patch<T extends KubeObject>(
    resource: Resource<T>,
    body: T,
    o: { signal?: AbortSignal | undefined; force?: boolean; subresource?: string },
  ): Promise<T> {
    this.#check();
    const fieldManager = this.#o.fieldManager + (o.subresource === undefined ? '' : `-${o.subresource}`);
    return this.#o.client.patch(resource, body.metadata, body, { type: 'apply', fieldManager, ...o });
  }

  #check(): void {
    if (!this.#o.mayWrite()) throw new NotLeadingError();
  }

  #observed<T extends KubeObject>(resource: Resource<T>, object: T): T {
    return this.#o.observe?.(resource, object) ?? object;
  }

  #isAsMade(id: string, wanted: unknown, live: unknown): boolean {
    const known = this.#remembered.get(id);
    if (known === undefined) return false;
    return known.wanted === fingerprint(wanted) && known.made === fingerprint(project(live, wanted));
  }

  #remember(id: string, wanted: unknown, made: unknown): void {
    this.#remembered.delete(id);
    this.#remembered.set(id, { wanted: fingerprint(wanted), made: fingerprint(project(made, wanted)) });
    const [oldest] = this.#remembered.size > REMEMBERED_MAX ? this.#remembered.keys() : [];
    if (oldest !== undefined) this.#remembered.delete(oldest);
  }
}

/** The items of a list lack both, unlike what a watch or an answer brings: that is no difference. */
function withoutType<T extends KubeObject>({ apiVersion: _, kind: __, ...fields }: T) {
  return fields;
}

export class NotLeadingError extends Error {
  constructor() {
    super('the lease is not ours any more: nothing is written');
  }
}

function finalizerPatch({ metadata }: KubeObject, after: readonly string[]) {
  const path = '/metadata/finalizers';
  return [
    { op: 'test', path: '/metadata/uid', value: metadata.uid },
    ...(metadata.finalizers?.length
      ? [
          { op: 'test', path, value: metadata.finalizers },
          { op: 'replace', path, value: after },
        ]
      : // A list that somebody made meanwhile would be overwritten without this.
        [
          { op: 'test', path: '/metadata/resourceVersion', value: metadata.resourceVersion },
          { op: 'add', path, value: after },
        ]),
  ];
}

function takeoversIn(error: unknown): Takeover[] {
  if (!(error instanceof KubeError) || error.status !== 409) return [];
  return error.causes
    .filter(({ reason }) => reason === 'FieldManagerConflict')
    .map(({ field = '', message = '' }) => ({ field, manager: /"([^"]*)"/.exec(message)?.[1] ?? 'unknown' }));
}

function sameStatus(live: unknown, wanted: unknown): boolean {
  return canonical(live ?? {}) === canonical(wanted ?? {});
}
