// Random flows against a model that is too simple to be wrong: a tree of nodes with an outcome each.
// Leaves and parents are handled in random order with random ends, with restarts in between; then every
// job must be where the model says, and nothing may be left.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ackOf, Bench, caller, nackOf } from './bench.ts';
import { enqueueFlow, type Tree } from './flow-bench.ts';

const QUEUES = ['{f}:a', '{f}:b', '{f}:c'];
const POLICIES = ['', 'fail-parent', 'ignore', 'continue', 'remove'];

interface Node {
  readonly id: string;
  readonly queue: string;
  readonly parent: Node | null;
  readonly onFailure: string;
  readonly children: Node[];
  state: 'waiting_children' | 'waiting' | 'completed' | 'dead' | 'cancelled';
}

class Model {
  readonly nodes: Node[] = [];

  add(tree: Tree, ids: string[], parent: Node | null = null): void {
    const { queue, onFailure = '', children = [] } = tree;
    const state = children.length > 0 ? 'waiting_children' : 'waiting';
    const node: Node = { id: ids.shift() ?? '', queue, parent, onFailure, children: [], state };
    this.nodes.push(node);
    parent?.children.push(node);
    for (const child of children) this.add(child, ids, node);
  }

  end(node: Node, state: 'completed' | 'dead' | 'cancelled'): void {
    const wasWaiting = node.state === 'waiting_children';
    node.state = state;
    if (state === 'cancelled' && wasWaiting)
      for (const child of node.children) if (!isOver(child)) this.end(child, 'cancelled');
    const { parent } = node;
    if (parent?.state !== 'waiting_children') return;
    const hasFailed = state !== 'completed';
    if (hasFailed && (node.onFailure === '' || node.onFailure === 'fail-parent')) this.end(parent, 'dead');
    else if (parent.children.every(isOver) || (hasFailed && node.onFailure === 'continue'))
      parent.state = 'waiting';
  }
}

const isOver = ({ state }: Node): boolean => state !== 'waiting' && state !== 'waiting_children';

/** At most three levels below the root. */
const treeOf = (levels: number): fc.Arbitrary<Tree> =>
  fc.record({
    queue: fc.constantFrom(...QUEUES),
    payload: fc.constantFrom('x', 'y'),
    onFailure: fc.constantFrom(...POLICIES),
    key: fc.constantFrom('', '', 'k'),
    priority: fc.constantFrom(0, 0, 5),
    children: levels === 0 ? fc.constant([]) : fc.array(treeOf(levels - 1), { maxLength: 3 }),
  });
const tree = treeOf(3);

type Step = (model: Model, bench: Bench) => Promise<void>;

const handling = fc.record({ queue: fc.nat(2), how: fc.constantFrom('ack', 'ack', 'ack', 'die', 'release') });
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: handling.map(({ queue, how }) => handleOne(QUEUES[queue] ?? '', how)) },
  {
    weight: 2,
    arbitrary: tree.map(
      (root): Step =>
        async (model, bench) => {
          model.add(root, await enqueueFlow(bench, { ...root, onFailure: '' }));
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.nat(50).map(
      (at): Step =>
        async (model, bench) => {
          const node = model.nodes[at % Math.max(1, model.nodes.length)];
          if (node === undefined) return;
          const request = { queue: node.queue, id: node.id, reason: 'test', mutation: null };
          expect((await bench.queues.cancelJob(caller, request)).cancelled).toBe(!isOver(node));
          if (!isOver(node)) model.end(node, 'cancelled');
          await bench.idle();
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.boolean().map(
      (clean): Step =>
        async (_, bench) =>
          bench.restart({ clean }),
    ),
  },
  { weight: 1, arbitrary: fc.constant<Step>(async (_, bench) => bench.checkpoint()) },
);

function handleOne(queue: string, how: string): Step {
  return async (model, bench) => {
    const [job] = await bench.lease(queue).catch(() => []);
    if (job === undefined) return;
    const node = model.nodes.find(({ id }) => id === job.id);
    expect(node?.state, `${job.id} may be leased`).toBe('waiting');
    if (node === undefined) return;
    if (how === 'release') {
      await bench.settle(queue, nackOf(job, { release: true }));
      return;
    }
    await bench.settle(queue, how === 'ack' ? ackOf(job) : nackOf(job, { unrecoverable: true }));
    model.end(node, how === 'ack' ? 'completed' : 'dead');
  };
}

async function check(model: Model, bench: Bench): Promise<void> {
  await bench.idle();
  for (const { id, queue, state } of model.nodes) {
    const found = (await bench.job(queue, id)).state;
    expect(found === 'blocked' ? 'waiting' : found, `${id} of ${queue}`).toBe(state);
  }
  for (const queue of QUEUES) {
    const here = model.nodes.filter((node) => node.queue === queue);
    if (here.length === 0) continue;
    const { figures } = await bench.fabric.admin.getQueue(caller, { name: queue });
    const count = (state: Node['state']) => here.filter((node) => node.state === state).length;
    expect(figures?.waitingChildren).toBe(count('waiting_children'));
    expect((figures?.waiting ?? 0) + (figures?.blocked ?? 0)).toBe(count('waiting'));
  }
}

describe.each([1, 3])('with %i shards', (shards) => {
  test('[Q198] random trees with random ends, across restarts: nothing hangs, nothing is early', async () => {
    let handled = 0;
    await fc.assert(
      fc.asyncProperty(tree, fc.array(steps, { minLength: 5, maxLength: 30 }), async (root, script) => {
        const bench = await Bench.open({ shards, onDisk: true });
        try {
          const model = new Model();
          model.add(root, await enqueueFlow(bench, { ...root, onFailure: '' }));
          for (const step of script) await step(model, bench);
          await check(model, bench);
          // What is left is handled: every flow comes to its end.
          for (let idle = 0; idle < 2; ) {
            const before = model.nodes.filter(isOver).length;
            for (const queue of QUEUES) await handleOne(queue, 'ack')(model, bench);
            idle = model.nodes.filter(isOver).length === before ? idle + 1 : 0;
          }
          await check(model, bench);
          expect(model.nodes.filter((node) => !isOver(node))).toEqual([]);
          handled += model.nodes.filter(({ state }) => state === 'completed').length;
        } finally {
          await bench.close();
        }
      }),
      { numRuns: 20 },
    );
    expect(handled, 'a run that handled nothing proves nothing').toBeGreaterThan(50);
  }, 120_000);
});
