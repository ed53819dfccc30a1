import fc from 'fast-check';
import { expect, test } from 'vitest';
import { turns, World } from './fake.ts';
import { type Bed, Model, type Step, script } from './model.ts';

async function fakeBed(shards: number): Promise<Bed> {
  const world = await World.open(shards);
  return {
    get streams() {
      return world.streams;
    },
    settle: () => turns(24),
    advance: (ms) => world.time.advance(ms),
    checkpoint: () => world.checkpoint(),
    restart: () => world.restart(),
    hold: (shard) => {
      const journal = world.nodes[shard % shards]?.journal;
      if (journal !== undefined) journal.isHeld = true;
    },
    close: async () => {},
  };
}

async function play(shards: number, steps: readonly Step[]): Promise<void> {
  const bed = await fakeBed(shards);
  await new Model(bed).run(steps);
  await bed.close();
}

/** What a producer was answered is found again behind a checkpoint. */
const ONCE_OVER_CHECKPOINT: Step[] = [
  { do: 'publish', p: 0, count: 1 },
  { do: 'checkpoint' },
  { do: 'restart' },
  { do: 'repeat', p: 0 },
];

for (const shards of [1, 3]) {
  test(`[ST42] streams behave as the model, crashes included (${shards} shards)`, async () => {
    let steps = 0;
    await fc.assert(
      fc.asyncProperty(script, async (each) => {
        steps += each.length;
        await play(shards, each);
      }),
      { numRuns: 40, examples: [[ONCE_OVER_CHECKPOINT]] },
    );
    expect(steps).toBeGreaterThan(100);
  });
}
