// What goes wrong in a run: the process and the power go, the disk fails, fills or drags, clocks jump.
import type { Chance } from './chance.ts';
import type { Kind } from './disk.ts';
import type { Sim } from './sim.ts';

const HOUR_MS = 3_600_000;

export class Nemesis {
  readonly #sim: Sim;
  readonly #chance: Chance;
  /** How often each kind comes in this run. */
  readonly #weights: readonly (readonly [number, () => void])[];
  readonly #everyMs: number;
  #isOver = false;
  #failing: { kind: Kind; where: string; left: number } | null = null;
  #troubles = 0;

  constructor(sim: Sim, chance: Chance) {
    this.#sim = sim;
    this.#chance = chance;
    const weight = () => (chance.hit(0.3) ? 0 : chance.next());
    this.#everyMs = chance.pick([300, 800, 2000]) * Math.sqrt(sim.pace);
    this.#weights = [
      [0.3 + weight(), () => this.#crash(false)],
      [0.3 + weight(), () => this.#crash(true)],
      [weight(), () => this.#failNext()],
      [weight() / 2, () => this.#fill()],
      [weight() / 2, () => this.#drag()],
      [weight() / 3, () => this.#jump()],
      [weight() / 3, () => this.#pause()],
    ];
    sim.machine.onEvent = (event) => this.#notice(event);
    sim.machine.disk.fails = (kind, path) => this.#fails(kind, path);
  }

  start(): void {
    const next = () => {
      if (this.#isOver) return;
      if (this.#sim.machine.fabric !== null || this.#chance.hit(0.3)) this.#chance.weigh(this.#weights)();
      this.#sim.world.after(this.#everyMs * (0.2 + 1.6 * this.#chance.next()), next);
    };
    this.#sim.world.after(this.#everyMs, next);
  }

  /** From now on nothing goes wrong any more. */
  heal(): void {
    const { disk } = this.#sim.machine;
    this.#isOver = true;
    this.#failing = null;
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    disk.slowness = 1;
    this.#sim.world.note('healed');
  }

  /** The moment behind a checkpoint is when most that is wrong with it would show. */
  #notice(event: string): void {
    if (this.#isOver || event !== 'checkpoint.written' || !this.#chance.hit(0.03)) return;
    const { world, machine } = this.#sim;
    const { life } = machine;
    world.after(0, () => {
      if (life === machine.life) this.#crash(true);
    });
  }

  #crash(isPower: boolean): void {
    const { machine } = this.#sim;
    this.#sim.count(isPower ? 'fault power' : 'fault kill');
    machine.crash(isPower, this.#chance.pick([0, this.#chance.next(), 1]), this.#chance.int(1, 300));
  }

  /** One operation on one kind of file fails, or a few do. */
  #failNext(): void {
    const kind = this.#chance.weigh<Kind>([
      [2, 'write'],
      [3, 'sync'],
      [2, 'rows-write'],
      [1, 'rows-read'],
      [1, 'read'],
      [0.5, 'names'],
      [0.5, 'open'],
    ]);
    const where = kind.startsWith('rows') ? '' : this.#chance.pick(['journal', 'logs']);
    this.#failing = { kind, where, left: this.#chance.int(1, 2) };
    this.#sim.count(`fault ${kind}`);
    this.#sim.world.note(`next ${kind} of ${where} will fail`);
  }

  #fails(kind: Kind, path: string): boolean {
    const failing = this.#failing;
    if (failing === null || failing.kind !== kind || !path.includes(failing.where)) return false;
    if (--failing.left === 0) this.#failing = null;
    this.#sim.count('disk failed');
    return true;
  }

  #fill(): void {
    const { disk } = this.#sim.machine;
    disk.capacityBytes = disk.usedBytes + this.#chance.int(0, 40_000);
    this.#sim.count('fault full');
    this.#trouble(this.#chance.int(300, 4000), () => {
      disk.capacityBytes = Number.POSITIVE_INFINITY;
    });
  }

  #drag(): void {
    const { disk } = this.#sim.machine;
    disk.slowness = this.#chance.pick([10, 100, 500]);
    this.#sim.count('fault slow');
    this.#trouble(this.#chance.int(100, 2000), () => {
      disk.slowness = 1;
    });
  }

  #trouble(ms: number, end: () => void): void {
    const { world } = this.#sim;
    world.note('trouble begins');
    this.#troubles++;
    this.#sim.isCalm = false;
    world.after(ms, () => {
      world.note('trouble ends');
      end();
      // What had waited for the disk is on its way still.
      world.after(2000, () => {
        if (--this.#troubles === 0) this.#sim.isCalm = true;
      });
    });
  }

  #jump(): void {
    const ms = this.#chance.pick([-HOUR_MS, -5000, 5000, HOUR_MS]);
    this.#sim.world.wallOffsetMs += ms;
    this.#sim.count('fault clock');
    this.#sim.world.note(`wall clock jumps ${ms} ms`);
  }

  /** The process stands still: everything that became due meanwhile comes at once. */
  #pause(): void {
    this.#sim.count('fault pause');
    const ms = this.#chance.int(100, 3000);
    this.#sim.world.note(`pause of ${ms} ms`);
    this.#trouble(ms, () => {});
    this.#sim.world.nowMs += ms;
  }
}
