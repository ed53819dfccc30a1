// One run from a seed: builds the world, lets clients and faults loose, heals it, checks what was promised.
import { Cast } from './cast.ts';
import { Chance } from './chance.ts';
import { Machine } from './machine.ts';
import { Nemesis } from './nemesis.ts';
import { Sim } from './sim.ts';
import { World } from './world.ts';

export interface Report {
  readonly seed: number;
  readonly shards: number;
  readonly violation: string | null;
  readonly digest: string;
  readonly steps: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly lastEvents: readonly string[];
}

/** Virtual time. */
const QUIET_MS_MAX = 180_000;
const NIGHT_MS_MAX = 20 * 60_000;

export const shardsOf = (seed: number): number => (seed % 2 === 0 ? 3 : 1);

export async function run(seed: number, shards = shardsOf(seed)): Promise<Report> {
  const chance = new Chance(seed);
  const world = new World(chance.fork());
  const sizes = {
    shards,
    segmentBytes: chance.pick([8, 16, 64]) * 1024,
    historyBytes: chance.pick([0, 32, 256]) * 1024,
    checkpointBytes: chance.pick([4, 16, 64]) * 1024,
    logSegmentBytes: chance.pick([2, 8, 32]) * 1024,
    cacheBytesMax: chance.pick([32, 64, 256]) * 1024,
  };
  // Too little for all keys, or enough.
  const keysBytesMax = sizes.cacheBytesMax / 8;
  const machine = new Machine(world, chance.fork(), { ...sizes, keysBytesMax });
  // A third of the runs are short and crowded.
  const pace = chance.pick([0.15, 1, 1]);
  const sim = new Sim(world, machine, pace);
  const onRejection = (error: unknown) =>
    sim.broken('no failure is forgotten', String((error as Error)?.stack));
  process.on('unhandledRejection', onRejection);
  try {
    await play(sim, chance);
  } finally {
    process.off('unhandledRejection', onRejection);
  }
  for (const [event, times] of machine.events) sim.count(`log ${event}`, times);
  for (const [kind, times] of Object.entries(machine.disk.counts)) sim.count(`disk ${kind}`, times);
  sim.count('starts', machine.starts);
  sim.count('fatals', machine.fatals);
  return {
    seed,
    shards,
    violation: sim.violation,
    digest: world.digest(),
    steps: world.steps,
    counts: Object.fromEntries([...sim.counts].sort(([a], [b]) => (a < b ? -1 : 1))),
    lastEvents: world.lastEvents(),
  };
}

/** Sums over several runs. */
export function total(reports: readonly Pick<Report, 'counts'>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { counts } of reports) {
    for (const [what, times] of Object.entries(counts)) sums[what] = (sums[what] ?? 0) + times;
  }
  return sums;
}

/** How often each must have happened in a run, on average: a simulation that did nothing shows nothing. */
const MINIMUMS: Readonly<Record<string, number>> = {
  starts: 3,
  'fault power': 1,
  'fault kill': 1,
  'fault full': 0.1,
  'fault slow': 0.1,
  'fault clock': 0.1,
  'disk failed': 0.2,
  fatals: 0.1,
  retry: 10,
  'kv done': 50,
  'enqueue done': 50,
  delivery: 50,
  'delivery in session': 30,
  'settled in session': 20,
  'session cut': 0.5,
  'settled ack': 30,
  'settled nack': 1,
  'settled release': 1,
  'settlement refused': 0.2,
  deduplicated: 5,
  'publish done': 40,
  record: 100,
  assignment: 3,
  committed: 10,
  'stale commit': 0.3,
  'seek done': 1,
  'member goes': 0.5,
  'transaction done': 20,
  'transaction REVISION_MISMATCH': 3,
  'transaction ack': 10,
  'transaction ack refused': 0.1,
  'change seen behind a cursor': 100,
  'change set': 80,
  'change delete': 10,
  'change expire': 5,
  'watch trimmed': 0.1,
  'limited delivery': 30,
  'limit reached': 5,
  died: 15,
  'life after death': 15,
  'redrive done': 5,
  'redrive resumed': 1,
  'fault in a redrive': 0.2,
  'redrive is cancelled': 0.5,
  'cancelled leased': 1,
  'cancelled plain': 2,
  'cancelled at work': 0.5,
  'pause done': 2,
  'drain done': 2,
  'refused as draining': 3,
  'flow done': 5,
  'flow-once done': 1,
  'flow-once QUEUE_FULL': 0.1,
  'flow deduplicated': 0.5,
  'flow job completed': 20,
  'flow job dead': 2,
  'flow job cancelled': 1,
  'flow cancelled': 0.5,
  'parent delivered': 5,
  'result found': 10,
  'fault in a flow': 0.3,
  'cache hit': 10,
  'cache miss': 10,
  'cache evicts': 0.2,
  'pipe done': 10,
  'pipe OUT_OF_ORDER': 5,
  'trimmed by age': 1,
  'trimmed by size': 1,
  'reader overtaken': 0.5,
  'tick allow': 4,
  'tick skip': 2,
  'tick buffer_one': 2,
  'fault at night': 1,
  'log checkpoint.written': 3,
  'log shard.recovered': 2,
};

export const minimumsMissed = (sums: Readonly<Record<string, number>>, runs: number): string[] =>
  Object.entries(MINIMUMS)
    .filter(([what, least]) => (sums[what] ?? 0) < least * runs)
    .map(([what, least]) => `${what}: ${sums[what] ?? 0} times in ${runs} runs, at least ${least * runs}`);

async function play(sim: Sim, chance: Chance): Promise<void> {
  const { world, machine } = sim;
  const activeMs = sim.pace < 1 ? 3000 : 12_000;
  const nemesis = new Nemesis(sim, chance.fork());
  const cast = new Cast(sim, chance);
  let isDone = false;
  const isOver = () => isDone || sim.violation !== null || machine.failure !== null;
  machine.start();
  void cast.declare().then(() => {
    nemesis.start();
    void cast.run().then(() => {
      isDone = true;
    });
  });
  const onStuck = (steps: number) =>
    sim.broken('time passes', `${steps} steps within a second; ${cast.open()}`);
  await world.run(activeMs, isOver, onStuck);
  nemesis.heal();
  sim.isClosing = true;
  await world.run(activeMs + QUIET_MS_MAX, isOver, onStuck);
  if (machine.failure !== null) sim.broken('it starts again after every crash', String(machine.failure));
  if (!isDone) sim.broken('all is handled once faults stop', cast.open());
  if (sim.violation !== null) return;
  await within(sim, onStuck, 'what was done can be looked at', QUIET_MS_MAX, () => cast.check());
  if (sim.violation === null)
    await within(sim, onStuck, 'the night comes to its end', NIGHT_MS_MAX, () => cast.night());
}

/** Something that has to be over after so long. */
async function within(
  sim: Sim,
  onStuck: (steps: number) => void,
  promise: string,
  ms: number,
  act: () => Promise<void>,
): Promise<void> {
  let isDone = false;
  void act().then(() => {
    isDone = true;
  });
  const isOver = () => isDone || sim.violation !== null || sim.machine.failure !== null;
  await sim.world.run(sim.world.nowMs + ms, isOver, onStuck);
  if (sim.machine.failure !== null)
    sim.broken('it starts again after every crash', String(sim.machine.failure));
  sim.expect(isDone, promise, () => sim.whereAll());
}
