// A simulated machine with one server process on it: starts, dies, loses power, comes up again. Clients reach
// the fabric of the present life only.
import type { FlowError } from '@flowmesh/protocol';
import { type OpenedFabric, openFabric } from '../../dataplane/fabric.ts';
import type { Runtime } from '../../dataplane/runtime.ts';
import type { Chance } from './chance.ts';
import { SimDisk } from './disk.ts';
import { SimRows, StoredRows } from './rows.ts';
import type { World } from './world.ts';

export interface MachineOptions {
  readonly shards: number;
  readonly segmentBytes: number;
  readonly historyBytes: number;
  readonly checkpointBytes: number;
  readonly logSegmentBytes: number;
  readonly cacheBytesMax: number;
  readonly keysBytesMax: number;
}

/** How an end of the process looks to those who were talking to it. */
export const GONE = Symbol('gone');

const START_MS_MAX = 60_000;

export class Machine {
  readonly world: World;
  readonly disk: SimDisk;
  readonly options: MachineOptions;
  readonly #chance: Chance;
  readonly #stored = new Map<string, StoredRows>();
  fabric: OpenedFabric | null = null;
  /** Times that the process was started. */
  starts = 0;
  /** Lives that ended by an error of the disk. */
  fatals = 0;
  /** Why it does not come up: damage is never to be expected, as no bit is flipped here. */
  failure: FlowError | null = null;
  readonly events = new Map<string, number>();
  /** What the server logs, as it happens. */
  onEvent: (event: string) => void = () => {};
  #whenGone = new Set<() => void>();
  #whenUp: (() => void)[] = [];
  #startedMs = 0;

  constructor(world: World, chance: Chance, options: MachineOptions) {
    this.world = world;
    this.#chance = chance;
    this.options = options;
    this.disk = new SimDisk(world, chance.fork());
  }

  get life(): number {
    return this.disk.life;
  }

  /** Resolves with the fabric once it serves. */
  up(): Promise<OpenedFabric> {
    if (this.fabric !== null) return Promise.resolve(this.fabric);
    return new Promise((resolve) => this.#whenUp.push(() => resolve(this.fabric as OpenedFabric)));
  }

  /** What `run` asks of the present life; GONE when that ends first. */
  async ask<T>(run: (fabric: OpenedFabric) => Promise<T>): Promise<T | typeof GONE> {
    const fabric = await this.up();
    let onGone = () => {};
    const gone = new Promise<typeof GONE>((resolve) => {
      onGone = () => resolve(GONE);
    });
    this.#whenGone.add(onGone);
    try {
      return await Promise.race([run(fabric), gone]);
    } finally {
      this.#whenGone.delete(onGone);
    }
  }

  /** Calls `run` when the present life ends; returns the cancellation. */
  onGone(run: () => void): () => void {
    this.#whenGone.add(run);
    return () => this.#whenGone.delete(run);
  }

  start(): void {
    this.starts++;
    this.#startedMs = this.world.nowMs;
    const { life } = this;
    this.world.note(`start ${this.starts}`);
    openFabric(this.#fabricOptions(life)).then(
      (fabric) => {
        if (life !== this.life) return;
        this.fabric = fabric;
        this.world.note(`up after ${(this.world.nowMs - this.#startedMs).toFixed(1)} ms`);
        for (const resolve of this.#whenUp.splice(0)) resolve();
      },
      (error: FlowError) => {
        if (life !== this.life) return;
        this.world.note(`start refused: ${error.code} ${error.message}`);
        if (error.code === 'DATA_DAMAGED' || error.code === 'DATA_TOO_NEW' || error.code === undefined) {
          this.failure = error;
        }
        this.crash(false, 0, 500);
      },
    );
  }

  /** The process ends, perhaps with the power, and is started again later. */
  crash(isPower: boolean, survival: number, downMs: number): void {
    this.world.note(isPower ? `power loss, ${survival} survives` : 'kill');
    this.fabric = null;
    if (isPower) {
      this.disk.losePower(survival);
      for (const rows of this.#stored.values()) rows.losePower(() => this.#chance.next());
    } else this.disk.kill();
    const gone = [...this.#whenGone];
    this.#whenGone.clear();
    for (const run of gone) run();
    const { life } = this;
    // A crash while it is down takes the place of the start that was to come.
    this.world.after(downMs, () => {
      if (life === this.life) this.start();
    });
  }

  /** Not even up again after a long time. */
  get isStuck(): boolean {
    return this.fabric === null && this.world.nowMs - this.#startedMs > START_MS_MAX;
  }

  #fabricOptions(life: number) {
    const { disk } = this;
    const { shards, ...sizes } = this.options;
    const alive = () => life === this.life;
    return {
      dataDir: 'data',
      clusterId: 'simulated',
      shards,
      autoCreate: true,
      runtime: this.#runtime(alive),
      version: 'simulated',
      log: (event: string, fields: Record<string, unknown>) => {
        if (alive()) this.onEvent(event);
        this.events.set(event, (this.events.get(event) ?? 0) + 1);
        if (event !== 'checkpoint.written') this.world.note(`log ${event} ${fields['err'] ?? ''}`);
      },
      onFatal: (error: FlowError) => {
        if (!alive()) return;
        this.fatals++;
        this.world.note(`fatal: ${error.message}`);
        // A process takes a moment to end, in which it must not acknowledge anything any more.
        this.world.after(this.#chance.next() * 5, () => {
          if (alive()) this.crash(this.#chance.hit(0.5), this.#chance.next(), this.#chance.int(1, 200));
        });
      },
      storage: {
        files: disk.journal,
        logFiles: disk.logs,
        rows: (dir: string) => new SimRows(disk, this.#rowsIn(dir), dir),
        ...sizes,
      },
    };
  }

  #rowsIn(dir: string): StoredRows {
    let rows = this.#stored.get(dir);
    if (rows === undefined) {
      rows = new StoredRows();
      this.#stored.set(dir, rows);
    }
    return rows;
  }

  #runtime(alive: () => boolean): Runtime {
    const { world } = this;
    const guarded = (run: () => void) => () => {
      if (alive()) run();
    };
    return {
      wallMs: () => world.wallMs(),
      monotonicMs: () => world.nowMs,
      random: () => this.#chance.next(),
      after: (ms, run) => world.after(Math.max(0, ms), guarded(run)),
      soon: (run) => void world.after(0, guarded(run)),
    };
  }
}
