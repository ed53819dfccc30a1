// The shape of a reconcile: gather (reads, no writes) -> decide (pure) -> carry out.
//   K1. `decide` is a function of what was gathered and of the time: everything it wants is in its plan.
//   K2. Order: finalizer on; objects applied, then deleted; actions in turn; status; events; finalizer off.
//       So what lies outside has a finalizer before it exists, and is gone before its finalizer is.
//   K3. A step that fails ends the steps, not the status: `status` hears of every outcome, and is written;
//       then the failure makes the key come back with backoff.
//   K4. An object that is gone needs nothing.
import type { Applied, Writer } from './apply.ts';
import type { Reconcile, ReconcileContext, ReconcileResult } from './controller.ts';
import type { EventDraft, Recorder } from './events.ts';
import type { Informer } from './informer.ts';
import { isTerminating, type Key, type KubeObject, type Resource } from './objects.ts';

export interface DesiredObject<D extends KubeObject = KubeObject> {
  readonly resource: Resource<D>;
  readonly wanted: D;
  /** From its informer; unset, it is sent each time. */
  readonly live?: D | undefined;
}

export interface Unwanted<D extends KubeObject = KubeObject> {
  readonly resource: Resource<D>;
  readonly live: D;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
}

/** How one action ended: those after a failure were not tried. */
export type Outcome<Action> =
  | { readonly action: Action; readonly kind: 'done'; readonly answer: unknown }
  | { readonly action: Action; readonly kind: 'failed'; readonly error: unknown }
  | { readonly action: Action; readonly kind: 'skipped' };

export interface Plan<Status, Action = never, Reason extends string = string> {
  readonly finalizer?: 'on' | 'off' | 'as-is';
  readonly apply?: readonly DesiredObject[];
  readonly delete?: readonly Unwanted[];
  /** What happens outside of Kubernetes; carried out by `act`. */
  readonly actions?: readonly Action[];
  readonly status?: Status | ((outcomes: readonly Outcome<Action>[]) => Status);
  readonly events?: readonly EventDraft<Reason>[];
  readonly requeueAfterMs?: number | undefined;
}

export interface ReconcilerOptions<
  T extends KubeObject & { status?: Status },
  Status,
  World,
  Action,
  Reason extends string,
> {
  readonly primary: Informer<T>;
  readonly writer: Writer;
  readonly recorder: Recorder<Reason>;
  readonly finalizer?: string;
  readonly wallMs: () => number;
  readonly gather: (object: T, context: ReconcileContext) => Promise<World> | World;
  readonly decide: (object: T, world: World, nowMs: number) => Plan<Status, Action, Reason>;
  readonly act?: (action: Action, object: T, context: ReconcileContext) => Promise<unknown>;
}

export function reconciler<
  T extends KubeObject & { status?: Status },
  Status,
  World,
  Action = never,
  Reason extends string = string,
>(o: ReconcilerOptions<T, Status, World, Action, Reason>): Reconcile {
  return async (key: Key, context: ReconcileContext): Promise<ReconcileResult | undefined> => {
    const known = o.primary.get(key);
    const found = known && (await o.writer.settled(o.primary.resource, known, context.signal));
    if (found === undefined) return undefined;
    const plan = o.decide(found, await o.gather(found, context), o.wallMs());
    const object = await withFinalizer(o, found, plan, context);
    if (object === undefined) return undefined;
    let failure: { error: unknown } | undefined;
    try {
      await carryOutObjects(o, object, plan, context);
    } catch (error) {
      failure = { error };
    }
    const outcomes = await carryOutActions(o, object, plan, context, failure !== undefined);
    failure ??= outcomes.find((each) => each.kind === 'failed');
    await conclude(o, object, plan, outcomes, context);
    if (failure !== undefined) throw failure.error;
    if (plan.finalizer === 'off' && o.finalizer !== undefined) {
      await o.writer.removeFinalizer(o.primary.resource, object, o.finalizer, context.signal);
    }
    return { requeueAfterMs: plan.requeueAfterMs };
  };
}

type Options<T extends KubeObject & { status?: S }, S, W, A, R extends string> = ReconcilerOptions<
  T,
  S,
  W,
  A,
  R
>;

async function withFinalizer<T extends KubeObject & { status?: S }, S, W, A, R extends string>(
  o: Options<T, S, W, A, R>,
  object: T,
  plan: Plan<S, A, R>,
  { signal }: ReconcileContext,
): Promise<T | undefined> {
  if (plan.finalizer !== 'on' || o.finalizer === undefined || isTerminating(object)) return object;
  return o.writer.addFinalizer(o.primary.resource, object, o.finalizer, signal);
}

async function carryOutObjects<T extends KubeObject & { status?: S }, S, W, A, R extends string>(
  o: Options<T, S, W, A, R>,
  object: T,
  plan: Plan<S, A, R>,
  { signal }: ReconcileContext,
): Promise<void> {
  for (const { resource, wanted, live } of plan.apply ?? []) {
    const applied = await o.writer.apply(resource, wanted, { live, signal });
    if (applied.taken.length > 0)
      o.recorder.record(o.primary.resource, object, takenEvent(resource, applied));
  }
  for (const { resource, live, propagation } of plan.delete ?? []) {
    await o.writer.delete(resource, live, { signal, ...(propagation && { propagation }) });
  }
}

async function carryOutActions<T extends KubeObject & { status?: S }, S, W, A, R extends string>(
  o: Options<T, S, W, A, R>,
  object: T,
  plan: Plan<S, A, R>,
  context: ReconcileContext,
  skip: boolean,
): Promise<Outcome<A>[]> {
  const outcomes: Outcome<A>[] = [];
  let ended = skip;
  for (const action of plan.actions ?? []) {
    if (ended || o.act === undefined) {
      outcomes.push({ action, kind: 'skipped' });
      continue;
    }
    try {
      outcomes.push({ action, kind: 'done', answer: await o.act(action, object, context) });
    } catch (error) {
      ended = true;
      outcomes.push({ action, kind: 'failed', error });
    }
  }
  return outcomes;
}

async function conclude<T extends KubeObject & { status?: S }, S, W, A, R extends string>(
  o: Options<T, S, W, A, R>,
  object: T,
  plan: Plan<S, A, R>,
  outcomes: readonly Outcome<A>[],
  { signal }: ReconcileContext,
): Promise<void> {
  if (plan.status !== undefined) {
    const status =
      typeof plan.status === 'function'
        ? (plan.status as (all: typeof outcomes) => S)(outcomes)
        : plan.status;
    await o.writer.applyStatus(o.primary.resource, object, status as T['status'], signal);
  }
  for (const event of plan.events ?? []) o.recorder.record(o.primary.resource, object, event);
}

function takenEvent<R extends string>(
  { kind }: Resource,
  { object, taken }: Applied<KubeObject>,
): EventDraft<R> {
  const fields = taken.map(({ field, manager }) => `${field} (${manager})`).join(', ');
  return {
    type: 'Warning',
    // A reason of this module, beside those of the controller.
    reason: 'FieldsTakenBack' as R,
    action: 'Apply',
    note: `${kind} ${object.metadata.name}: set back what another manager had set: ${fields}`,
  };
}
