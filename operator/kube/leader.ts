// Leader election by a Lease: at most one operator acts.
//   L1. Others may take the lease `durationMs` after they last saw it change; we stop `renewDeadlineMs`
//       after the start of our last renewal that succeeded. The difference is what a slow clock or a pause
//       may cost.
//   L2. `mayAct` looks at the clock itself: a process that was paused knows before its timers have fired.
//   L3. Losing the lease aborts `signal`; there is no way back: the process ends and starts anew.
//   L4. `release` comes last, when nothing acts any more: then another one takes over at its next look.
import { type Runtime, sleep } from '../runtime.ts';
import type { Client } from './client.ts';
import { isConflict, isNotFound } from './errors.ts';
import { decideLease, LEASES, type LeaseObject, releasedSpec, type SeenLease, seeLease } from './lease.ts';
import type { KubeLog } from './telemetry.ts';

export interface ElectionOptions {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly log: KubeLog;
  readonly namespace: string;
  readonly name: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly durationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
  readonly onChange?: (leads: boolean) => void;
}

export interface Leadership {
  /** Aborts when the lease is lost. */
  readonly signal: AbortSignal;
  mayAct(): boolean;
  release(): Promise<void>;
}

const DURATION_MS = 15_000;
const RENEW_DEADLINE_MS = 10_000;
const RETRY_MS = 2_000;
const RELEASE_MS = 3_000;

/** Undefined: `signal` ended the wait. */
export async function electLeader(o: ElectionOptions, signal: AbortSignal): Promise<Leadership | undefined> {
  const { runtime, log, identity } = o;
  const retryMs = o.retryMs ?? RETRY_MS;
  let seen: SeenLease | undefined;
  let holder: string | undefined;
  while (!signal.aborted) {
    const startedMs = runtime.monotonicMs();
    const limit = new Limit(runtime, o.renewDeadlineMs ?? RENEW_DEADLINE_MS, signal);
    try {
      const lease = await o.client.get(LEASES, o, limit.signal);
      seen = lease && seeLease(seen, lease, runtime.monotonicMs());
      const decision = decide(o, seen);
      if (decision.kind === 'take') {
        const held = await write(o, seen?.lease, decision.spec, limit.signal);
        log.info({ event: 'leader.acquired', identity, lease: o.name }, 'leading');
        return new Held(o, held, startedMs);
      }
      if (decision.holder !== holder) {
        log.info({ event: 'leader.waiting', holder: decision.holder, lease: o.name }, 'another one leads');
      }
      holder = decision.holder;
    } catch (err) {
      // A conflict is another one that was faster.
      if (!signal.aborted && !isConflict(err))
        log.warn({ event: 'leader.failed', err }, 'cannot ask for the lease');
    } finally {
      limit.end();
    }
    await sleep(runtime, retryMs * (1 + runtime.random() / 5), signal);
  }
  return undefined;
}

class Held implements Leadership {
  readonly #o: ElectionOptions;
  readonly #aborter = new AbortController();
  readonly #stopped = new AbortController();
  readonly #deadlineMs: number;
  readonly #renewing: Promise<void>;
  #lease: LeaseObject;
  /** Start of the last renewal that succeeded (L1). */
  #renewedMs: number;
  #cancelWatchdog: () => void = () => {};

  constructor(o: ElectionOptions, lease: LeaseObject, startedMs: number) {
    this.#o = o;
    this.#lease = lease;
    this.#renewedMs = startedMs;
    this.#deadlineMs = o.renewDeadlineMs ?? RENEW_DEADLINE_MS;
    o.onChange?.(true);
    this.#watch();
    this.#renewing = this.#renew();
  }

  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  mayAct(): boolean {
    return (
      !this.#aborter.signal.aborted && this.#o.runtime.monotonicMs() < this.#renewedMs + this.#deadlineMs
    );
  }

  async release(): Promise<void> {
    this.#stopped.abort();
    await this.#renewing;
    this.#cancelWatchdog();
    if (this.#aborter.signal.aborted) return;
    this.#aborter.abort();
    const { runtime, log, name } = this.#o;
    const limit = new Limit(runtime, RELEASE_MS);
    try {
      await write(this.#o, this.#lease, releasedSpec(this.#lease, runtime.wallMs()), limit.signal);
      log.info({ event: 'leader.released', lease: name }, 'released the lease');
    } catch (err) {
      log.warn({ event: 'leader.release-failed', err }, 'the lease ends by itself');
    } finally {
      limit.end();
      this.#o.onChange?.(false);
    }
  }

  async #renew(): Promise<void> {
    const { runtime, log } = this.#o;
    const done = () => this.#stopped.signal.aborted || this.#aborter.signal.aborted;
    while (!done()) {
      await sleep(runtime, this.#o.retryMs ?? RETRY_MS, this.#stopped.signal);
      if (done()) return;
      const startedMs = runtime.monotonicMs();
      const limit = new Limit(runtime, this.#deadlineMs / 2, this.#aborter.signal);
      try {
        this.#lease = await this.#writeOwn(limit.signal);
        this.#renewedMs = startedMs;
      } catch (err) {
        if (err instanceof TakenError) this.#lose(err.message);
        else if (!done())
          log.warn({ event: 'leader.renew-failed', err }, 'cannot renew the lease; trying again');
      } finally {
        limit.end();
      }
    }
  }

  async #writeOwn(signal: AbortSignal): Promise<LeaseObject> {
    const renew = (lease: LeaseObject) => {
      const decision = decide(this.#o, { lease, sinceMs: this.#o.runtime.monotonicMs() });
      if (decision.kind === 'wait') throw new TakenError(decision.holder);
      return write(this.#o, lease, decision.spec, signal);
    };
    try {
      return await renew(this.#lease);
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
      // Somebody else wrote it (an answer of ours that was lost, too), or deleted it.
      const lease = await this.#o.client.get(LEASES, this.#o, signal);
      if (lease === undefined || lease.spec?.holderIdentity !== this.#o.identity) {
        throw new TakenError(lease?.spec?.holderIdentity || 'nobody');
      }
      return await renew(lease);
    }
  }

  // L1: also while a renewal hangs.
  #watch(): void {
    const { runtime } = this.#o;
    const leftMs = this.#renewedMs + this.#deadlineMs - runtime.monotonicMs();
    if (leftMs <= 0) this.#lose('it could not be renewed in time');
    else this.#cancelWatchdog = runtime.after(leftMs, () => this.#watch());
  }

  #lose(why: string): void {
    this.#cancelWatchdog();
    if (this.#aborter.signal.aborted) return;
    this.#aborter.abort();
    this.#o.onChange?.(false);
    this.#o.log.error({ event: 'leader.lost', why, lease: this.#o.name }, 'lost the lease');
  }
}

class TakenError extends Error {
  constructor(holder: string) {
    super(`it belongs to ${holder}`);
  }
}

function decide(
  { identity, durationMs = DURATION_MS, runtime }: ElectionOptions,
  seen: SeenLease | undefined,
) {
  const [nowMs, wallMs] = [runtime.monotonicMs(), runtime.wallMs()];
  return decideLease(seen, { identity, durationMs, nowMs, wallMs });
}

function write(
  { client, namespace, name }: ElectionOptions,
  lease: LeaseObject | undefined,
  spec: LeaseObject['spec'],
  signal: AbortSignal,
): Promise<LeaseObject> {
  if (lease === undefined) return client.create(LEASES, { metadata: { name, namespace }, spec }, signal);
  return client.replace(LEASES, { ...lease, spec }, signal);
}

/** A signal that aborts after a time, or with another one. */
class Limit {
  readonly #aborter = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #cancel: () => void;

  constructor(runtime: Runtime, ms: number, outer?: AbortSignal) {
    this.#outer = outer;
    this.#cancel = runtime.after(ms, this.#abort);
    outer?.addEventListener('abort', this.#abort);
    if (outer?.aborted) this.#aborter.abort();
  }

  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  end(): void {
    this.#cancel();
    this.#outer?.removeEventListener('abort', this.#abort);
  }

  readonly #abort = () => this.#aborter.abort();
}
