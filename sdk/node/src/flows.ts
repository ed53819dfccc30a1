// Flows: trees of jobs whose parents wait for their children. Owns how a tree becomes a request, and how a
// handler reads what its children returned.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { checkName, type EnqueueOptions } from './enqueue.ts';
import { newJob } from './new-job.ts';
import { causeOf, currentOrigin } from './origin.ts';
import { decodeValue } from './values.ts';

/** What a child that ends without an ack does to its parent. */
export type OnFailure = 'fail-parent' | 'ignore' | 'continue' | 'remove';

/** A job of a flow, and those that it waits for. */
export interface FlowJob extends Omit<EnqueueOptions, keyof CallOptions> {
  queue: string;
  payload: unknown;
  /** By which its parent finds it, unique among its siblings. */
  name?: string | undefined;
  /**
   * What its end without an ack (dead, cancelled, purged) does to its parent. `fail-parent` (default): that
   * goes to its dead-letter queue. `ignore`: as if it had been acked. `continue`: the parent goes on without
   * waiting for the others. `remove`: as if it had never been.
   */
  onFailure?: OnFailure | undefined;
  children?: readonly FlowJob[] | undefined;
}

export interface EnqueuedFlow {
  id: string;
  queue: string;
  name: string | undefined;
  /** True, only of the root: nothing was enqueued, `id` is that of an earlier job with the same dedupKey. */
  deduplicated: boolean;
  children: EnqueuedFlow[];
}

/** A child as its parent sees it. */
export interface ChildJob<T = unknown> {
  id: string;
  queue: string;
  name: string | undefined;
  onFailure: OnFailure;
  /** `open`: not finished; its parent does not wait for it any more (`continue`). */
  state: 'open' | 'completed' | 'dead' | 'cancelled';
  /** What its handler returned. Undefined: nothing, or it is not completed. */
  result: T | undefined;
  /** Why it did not complete. */
  error: string | undefined;
}

export interface ChildrenOptions extends CallOptions {
  /** Children per request. Default: 100. */
  pageSize?: number | undefined;
}

const NODES_MAX = 1000;

/** In pre-order, without recursion: a tree may be of any depth until it is refused. */
function flatten(root: FlowJob): { nodes: pb.FlowNodeInput[]; jobs: FlowJob[] } {
  const nodes: pb.FlowNodeInput[] = [];
  const jobs: FlowJob[] = [];
  const stack = [{ job: root, parent: 0 }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { job, parent } = next;
    if (nodes.length >= NODES_MAX)
      throw new FlowError(
        'FLOW_TOO_LARGE',
        `a flow has at most ${NODES_MAX} jobs, and no job twice in itself`,
      );
    const { queue, payload, name, onFailure, children = [], ...options } = job;
    checkName(queue);
    const at = nodes.push({ queue, job: newJob(payload, options), parent, name, onFailure }) - 1;
    jobs.push(job);
    for (let i = children.length - 1; i >= 0; i--) stack.push({ job: children[i] as FlowJob, parent: at });
  }
  return { nodes, jobs };
}

export async function enqueueFlow(
  connection: Connection,
  root: FlowJob,
  options: CallOptions | undefined,
): Promise<EnqueuedFlow> {
  const { nodes, jobs } = flatten(root);
  const origin = currentOrigin();
  const mutation = connection.mutation(origin === undefined ? undefined : causeOf(origin));
  const { queues } = connection;
  // Its jobs are effects one after another.
  for (let i = 1; i < nodes.length; i++) origin?.nextOrdinal();
  const response = await connection.call(queues, queues.enqueueFlow, { nodes, mutation }, options);
  const flows = jobs.map(({ queue, name }, i): EnqueuedFlow => {
    const { id = '', deduplicated = false } = response.jobs[i] ?? {};
    return { id, queue, name, deduplicated, children: [] };
  });
  const first = flows[0] as EnqueuedFlow;
  if (first.deduplicated) return first;
  for (let i = 1; i < flows.length; i++)
    flows[nodes[i]?.parent ?? 0]?.children.push(flows[i] as EnqueuedFlow);
  return first;
}

/** The children of a job, in the order of its flow. */
export async function* childrenOf<T>(
  connection: Connection,
  job: { queue: string; id: string; leaseEpoch?: number },
  { pageSize: limit, ...options }: ChildrenOptions = {},
): AsyncGenerator<ChildJob<T>, void, void> {
  const { queues } = connection;
  const { queue, id, leaseEpoch } = job;
  let cursor = '';
  do {
    const request = { queue, id, leaseEpoch, cursor, limit };
    const page = await connection.call(queues, queues.listChildren, request, options);
    for (const child of page.children) yield childJob<T>(child);
    cursor = page.cursor;
  } while (cursor !== '');
}

const childJob = <T>(child: pb.FlowChild): ChildJob<T> => ({
  id: child.id,
  queue: child.queue,
  name: child.name || undefined,
  onFailure: child.onFailure as OnFailure,
  state: child.state as ChildJob['state'],
  result: child.resultContentType ? (decodeValue(child.result, child.resultContentType) as T) : undefined,
  error: child.error || undefined,
});

/** Results of completed children, by name, or by id where they have none. */
export async function resultsOf<T>(
  children: AsyncIterable<ChildJob<T>>,
): Promise<Record<string, T | undefined>> {
  const results: Record<string, T | undefined> = Object.create(null);
  for await (const { name, id, state, result } of children)
    if (state === 'completed') results[name ?? id] = result;
  return results;
}
