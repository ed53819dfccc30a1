// What all clients and checkers of one run share: the world, the machine, the counts of what happened, and
// the first promise that was broken.
import { FlowError, shardOf } from '@flowmesh/protocol';
import type { OpenedFabric } from '../../dataplane/fabric.ts';
import type { Caller } from '../../dataplane/shard/state-machine.ts';
import type { Chance } from './chance.ts';
import { GONE, type Machine } from './machine.ts';
import type { World } from './world.ts';

export const caller: Caller = { identity: 'sim', tenant: 1, deadlineMs: 0 };

/** What a client learns of one try. */
export type Outcome<T> =
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'refused'; readonly error: FlowError }
  /** The server died, did not answer in time, or its answer was lost. */
  | { readonly kind: 'unknown' };

const REPLY_LOST = 0.02;
const CALL_MS_MAX = 15_000;

export class Sim {
  readonly world: World;
  readonly machine: Machine;
  readonly counts = new Map<string, number>();
  violation: string | null = null;
  /** Clients begin nothing new: they finish what they have. */
  isClosing = false;
  /** The disk does what it is told: what was decided was decided about when it was asked for. */
  isCalm = true;
  /** What each client waits for. */
  readonly standing = new Map<string, { readonly what: string; readonly sinceMs: number }>();
  /** Of all clients: the smaller, the more is under way at any time. */
  readonly pace: number;
  #order = 0;

  constructor(world: World, machine: Machine, pace: number) {
    this.world = world;
    this.machine = machine;
    this.pace = pace;
  }

  /** Grows with each use: what has the smaller one came first. */
  order(): number {
    return ++this.#order;
  }

  count(what: string, by = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + by);
  }

  broken(promise: string, how: string): void {
    this.world.note(`VIOLATION ${promise}: ${how}`);
    this.violation ??= `${promise}: ${how}`;
  }

  /** For the report on a run that comes to no end. */
  whereAll(): string {
    const { fabric, starts } = this.machine;
    const each = [...this.standing].map(([name, at]) => `${name} ${at.what} since ${at.sinceMs.toFixed(0)}`);
    const where = `start ${starts} is ${fabric === null ? 'down' : 'up'}`;
    return `at ${this.world.nowMs.toFixed(0)}, ${where}; ${each.join('; ')}`;
  }

  expect(holds: boolean, promise: string, how: () => string): void {
    if (!holds) this.broken(promise, how());
  }

  /** Time of the shard where a name lives; 0 while it is not up. */
  shardMs(name: string): number {
    const shards = this.machine.fabric?.shards;
    return shards?.[shardOf(name, shards.length)]?.shard.nowMs() ?? 0;
  }
}

export type Ask<T> = (fabric: OpenedFabric) => Promise<T>;

/** A client with a name, a producer id and chance of its own. */
export class Client {
  readonly sim: Sim;
  readonly name: string;
  readonly chance: Chance;
  #seq = 0;

  constructor(sim: Sim, name: string, chance: Chance) {
    this.sim = sim;
    this.name = name;
    this.chance = chance;
  }

  mutation() {
    return { producerId: this.name, seq: ++this.#seq, cause: null };
  }

  /** Between two things that it does. */
  think(from: number, to: number): Promise<void> {
    return this.pause(from * this.sim.pace, to * this.sim.pace);
  }

  pause(from: number, to: number): Promise<void> {
    return this.sim.world.sleep(from + this.chance.next() * (to - from));
  }

  async once<T>(what: string, ask: Ask<T>): Promise<Outcome<T>> {
    const { sim } = this;
    sim.standing.set(this.name, { what, sinceMs: sim.world.nowMs });
    const outcome = await this.#try(ask);
    sim.standing.set(this.name, { what: `behind ${what}`, sinceMs: sim.world.nowMs });
    const told = outcome.kind === 'refused' ? outcome.error.code : outcome.kind;
    sim.world.note(`${this.name} ${what}: ${told}`);
    sim.count(`${what.split(' ')[0]} ${told}`);
    return outcome;
  }

  /** The same request again and again until its outcome is known; `ask` carries one mutation id. */
  async until<T>(what: string, ask: Ask<T>): Promise<Exclude<Outcome<T>, { kind: 'unknown' }>> {
    for (let tries = 1; ; tries++) {
      const outcome = await this.once(what, ask);
      const isKnown = outcome.kind === 'done' || (outcome.kind === 'refused' && !isPassing(outcome.error));
      if (isKnown) return outcome as Exclude<Outcome<T>, { kind: 'unknown' }>;
      this.sim.count('retry');
      await this.pause(5, Math.min(1000, 20 * 2 ** tries));
    }
  }

  async #try<T>(ask: Ask<T>): Promise<Outcome<T>> {
    const { world, machine } = this.sim;
    let cancel = () => {};
    const late = new Promise<typeof GONE>((resolve) => {
      cancel = world.after(CALL_MS_MAX, () => resolve(GONE));
    });
    try {
      const value = await Promise.race([machine.ask(ask), late]);
      if (value === GONE || this.chance.hit(REPLY_LOST)) return { kind: 'unknown' };
      return { kind: 'done', value };
    } catch (error) {
      if (!(error instanceof FlowError)) {
        this.sim.broken('every error has a code', `${this.name} got ${String(error)}`);
        return { kind: 'unknown' };
      }
      return { kind: 'refused', error };
    } finally {
      cancel();
    }
  }
}

/** Try again: nothing was decided, or nobody knows. */
export const isPassingCode = (code: string): boolean =>
  ['UNAVAILABLE', 'DISK_FULL', 'RESOURCE_EXHAUSTED', 'QUEUE_FULL'].includes(code);

export const isPassing = (error: FlowError): boolean => isPassingCode(error.code);
