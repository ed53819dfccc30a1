// The board of a running data plane: once a second every target that asks for scaling is measured, and what
// is wanted of it decided.
//   L1. A reading that is older than FRESH_MS is `unknown`: what does not move any more must not be believed.
//   L2. Targets do not wait for each other: one whose figures must be read from a slow disk is late alone.
//   L3. What is remembered of a target goes with its declaration.
//   L4. After a start, targets that were declared before are unknown until their workers had time to come
//       back: an advice without them would take them away.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { readPolicy, type Scaled } from '../../crds/based-on.ts';
import { lagTargetOf } from '../../crds/lag-trigger.ts';
import type { Runtime } from '../runtime.ts';
import type { Reading, ScalingBoard, ScalingTarget } from './board.ts';
import type { Advice, ScalingPolicy, Signals } from './signals.ts';
import type { ScaledTarget, ScalingSource } from './source.ts';
import type { ScalingSpec } from './spec.ts';

type QueueTarget = Extract<ScalingTarget, { readonly queue: string }>;
type GroupTarget = Exclude<ScalingTarget, QueueTarget>;

export interface LiveBoardParts<Memory> {
  readonly queues: ScalingSource<QueueTarget>;
  readonly groups: ScalingSource<GroupTarget>;
  /** Figures mean something: the fabric serves. */
  readonly isServing: () => boolean;
  readonly runtime: Pick<Runtime, 'monotonicMs'>;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** What is remembered of a target that was never decided. */
  readonly fresh: Memory;
  readonly decide: (
    signals: Signals,
    policy: ScalingPolicy,
    memory: Memory,
  ) => { advice: Advice; memory: Memory };
}

const RETRY_MS = 1000;
const FRESH_MS = 10_000;
/** Clients of all SDKs try to connect again within seconds. */
const RETURN_MS = 30_000;

type Read = ReturnType<ScalingBoard['read']>;
type Listener = (reading: Read) => void;

interface Kept<Memory> {
  readonly spec: ScalingSpec;
  readonly policy: ScalingPolicy;
  memory: Memory;
  reading: Reading | undefined;
  readAtMs: number;
  isMeasuring: boolean;
  /** L4: monotonic. */
  readonly knownFromMs: number;
}

export class LiveBoard<Memory> implements ScalingBoard {
  readonly #parts: LiveBoardParts<Memory>;
  #kept = new Map<string, Kept<Memory>>();
  /** L4: those whose workers may be on their way back, and until when. */
  readonly #returning = new Set<string>();
  #returnedMs = 0;
  readonly #followers = new Map<string, { target: ScalingTarget; listeners: Set<Listener> }>();

  constructor(parts: LiveBoardParts<Memory>) {
    this.#parts = parts;
  }

  /** Once, when all that was declared before this start has been read. */
  recovered(): void {
    const { queues, groups, runtime } = this.#parts;
    this.#returnedMs = runtime.monotonicMs() + RETURN_MS;
    for (const { scaled } of [...this.#scaledOf(queues), ...this.#scaledOf(groups)])
      this.#returning.add(keyOf(scaled.target));
  }

  /** Once a second. */
  look(): void {
    const { queues, groups, isServing } = this.#parts;
    queues.look();
    groups.look();
    const kept = new Map<string, Kept<Memory>>();
    const targets = isServing() ? [...this.#scaledOf(queues), ...this.#scaledOf(groups)] : [];
    for (const { kind, scaled } of targets) {
      const key = keyOf(scaled.target);
      const one = this.#keep(key, kind, scaled.spec);
      if (one === undefined) continue;
      kept.set(key, one);
      void this.#measure(one, scaled, key);
    }
    this.#kept = kept; // L3
    for (const [key, { target }] of this.#followers) if (!kept.has(key)) this.#tell(key, this.read(target));
  }

  read(target: ScalingTarget): Read {
    if (!this.#parts.isServing()) return 'unknown';
    if (orNull(() => this.#specOf(target)) === null) return 'not-found';
    const kept = this.#kept.get(keyOf(target));
    const nowMs = this.#parts.runtime.monotonicMs();
    if (kept?.reading === undefined || nowMs < kept.knownFromMs) return 'unknown';
    return nowMs - kept.readAtMs <= FRESH_MS ? kept.reading : 'unknown';
  }

  follow(target: ScalingTarget, listener: Listener): () => void {
    const key = keyOf(target);
    const followed = this.#followers.get(key) ?? { target, listeners: new Set() };
    this.#followers.set(key, followed);
    followed.listeners.add(listener);
    return () => {
      followed.listeners.delete(listener);
      if (followed.listeners.size === 0) this.#followers.delete(key);
    };
  }

  /** GetScaling: what the board says, or which error. */
  answer(tenant: number, { queue, stream, group }: pb.GetScalingRequest): pb.GetScalingResponseInput {
    const isQueue = queue !== '' && stream === '' && group === '';
    if (!isQueue && (queue !== '' || stream === '' || group === ''))
      throw new FlowError('INVALID_ARGUMENT', 'name either a queue, or a stream and a consumer group of it');
    const target: ScalingTarget = isQueue ? { tenant, queue } : { tenant, stream, group };
    const what = isQueue ? `queue ${queue}` : `consumer group ${group} of stream ${stream}`;
    const scaling = this.#specOf(target);
    if (scaling === null)
      throw new FlowError('SCALING_NOT_DECLARED', `the declaration of ${what} asks for no scaling`);
    const reading = this.read(target);
    if (typeof reading === 'string') {
      const message = `the signals of ${what} are not known yet`;
      throw new FlowError('SCALING_UNKNOWN', message, { retryAfterMs: RETRY_MS });
    }
    const { signals, advice, lagTarget } = reading;
    const { wanted, active, reason, why } = advice;
    return {
      signals,
      advice: { workersWanted: wanted, active, reason, why },
      lagTarget,
      workers: 'queue' in target ? this.#parts.queues.workers(target) : this.#parts.groups.workers(target),
      scaling: { ...scaling, basedOn: [...scaling.basedOn] },
    };
  }

  #specOf(target: ScalingTarget): ScalingSpec | null {
    const { queues, groups } = this.#parts;
    return 'queue' in target ? queues.specOf(target) : groups.specOf(target);
  }

  *#scaledOf(source: Pick<ScalingSource<never>, 'kind' | 'scaled'>) {
    for (const scaled of source.scaled()) yield { kind: source.kind, scaled };
  }

  /** A declaration that says something else begins anew. */
  #keep(key: string, kind: Scaled, spec: ScalingSpec): Kept<Memory> | undefined {
    const known = this.#kept.get(key);
    if (known?.spec === spec) return known;
    const { policy } = readPolicy(kind, spec);
    // A condition that only a newer version knows: better no advice than one that leaves it out.
    if (policy === undefined) return undefined;
    const memory = known?.memory ?? this.#parts.fresh;
    return {
      spec,
      policy,
      memory,
      reading: known?.reading,
      readAtMs: known?.readAtMs ?? 0,
      isMeasuring: false,
      knownFromMs: known?.knownFromMs ?? (this.#returning.delete(key) ? this.#returnedMs : 0), // L4
    };
  }

  async #measure(kept: Kept<Memory>, { measure }: ScaledTarget, key: string): Promise<void> {
    if (kept.isMeasuring) return; // L2
    kept.isMeasuring = true;
    try {
      const signals = await measure();
      if (signals !== null && this.#kept.get(key) === kept) this.#decide(kept, signals, key);
    } catch (error) {
      this.#parts.log('scaling failed', { target: key.replaceAll('\0', ' '), error: String(error) });
    } finally {
      kept.isMeasuring = false;
    }
  }

  #decide(kept: Kept<Memory>, signals: Signals, key: string): void {
    const { policy } = kept;
    const { advice, memory } = this.#parts.decide(signals, policy, kept.memory);
    kept.memory = memory;
    kept.reading = { signals, advice, lagTarget: lagTargetOf(policy) };
    kept.readAtMs = this.#parts.runtime.monotonicMs();
    if (kept.readAtMs >= kept.knownFromMs) this.#tell(key, kept.reading);
  }

  #tell(key: string, reading: Read): void {
    for (const listener of this.#followers.get(key)?.listeners ?? []) listener(reading);
  }
}

function orNull<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof FlowError) return null;
    throw error;
  }
}

/** Names hold no control characters. */
const keyOf = (target: ScalingTarget): string =>
  'queue' in target
    ? `${target.tenant}\0${target.queue}`
    : `${target.tenant}\0${target.stream}\0${target.group}`;
