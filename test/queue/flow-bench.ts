// Short ways to enqueue and handle flows.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { aJob, type Bench, caller, type Held, type JobOptions } from './bench.ts';

export interface Tree extends JobOptions {
  queue: string;
  payload: string;
  name?: string;
  onFailure?: string;
  children?: readonly Tree[];
}

/** In pre-order, as the ids of the answer. */
export function nodesOf(tree: Tree, into: pb.FlowNode[] = [], parent = 0): pb.FlowNode[] {
  const { queue, payload, name = '', onFailure = '', children = [] } = tree;
  const at = into.push({ queue, job: aJob(payload, tree), parent, name, onFailure }) - 1;
  for (const child of children) nodesOf(child, into, at);
  return into;
}

export async function enqueueFlow(bench: Bench, tree: Tree): Promise<string[]> {
  const { jobs } = await bench.queues.enqueueFlow(caller, { nodes: nodesOf(tree), mutation: null });
  await bench.idle();
  return (jobs ?? []).map(({ id }) => id ?? '');
}

/** Acks, one after another, all jobs that the queues give; each result is `done <payload>`. */
export async function handle(bench: Bench, ...queues: string[]): Promise<Held[]> {
  const handled: Held[] = [];
  for (const queue of queues) {
    for (;;) {
      const [job] = await bench.lease(queue);
      if (job === undefined) break;
      const ack = { result: Buffer.from(`done ${job.payload}`), resultContentType: 'text/plain' };
      await bench.settle(queue, { id: job.id, leaseEpoch: job.leaseEpoch, ack } as pb.Settlement);
      handled.push(job);
    }
  }
  return handled;
}

export async function countsOf(bench: Bench, name: string) {
  const { figures } = await bench.fabric.admin.getQueue(caller, { name });
  return { waitingChildren: figures?.waitingChildren, waiting: figures?.waiting };
}
