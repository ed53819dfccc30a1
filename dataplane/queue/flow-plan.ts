// From the message of a flow to the command: what a tree must be is checked here, and its jobs are put
// into one batch for each queue. Pure.

import { type BatchRecord, encodeBatch, FlowError, LIMITS, shardOf, validateBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { causingMessages } from '../shard/batch-causes.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller, MutationId } from '../shard/state-machine.ts';
import type { FlowCommand } from './commands.ts';
import { FAILURE_POLICIES, type FailurePolicy } from './flow-tables.ts';
import { checkName, toBatchRecord } from './messages.ts';
import { isDeadLetterName } from './policy.ts';

const NODES_MAX = 1000;
const DEPTH_MAX = 32;

export function flowCommand(
  caller: Caller,
  { nodes, mutation }: pb.EnqueueFlowRequest,
  shards: number,
): FlowCommand {
  if (nodes.length === 0) throw new FlowError('INVALID_ARGUMENT', 'nodes is empty: name at least the root');
  if (nodes.length > NODES_MAX)
    throw new FlowError('FLOW_TOO_LARGE', `a flow has at most ${NODES_MAX} jobs, not ${nodes.length}`);
  const numbers = numbersOf(nodes);
  const root = nodes[0]?.queue ?? '';
  const home = { name: root, shard: shardOf(root, shards), shards };
  const records = nodes.map((node, i) => recordOf(node, i, home, mutation?.cause ?? undefined));
  const byQueue = new Map<string, number[]>();
  nodes.forEach(({ queue }, i) => {
    const members = byQueue.get(queue);
    if (members === undefined) byQueue.set(queue, [i]);
    else members.push(i);
  });
  const messages: string[] = [];
  const parts = Array.from(byQueue, ([name, members]) => {
    const batch = encodeBatch(members.map((i) => records[i] as BatchRecord));
    messages.push(...(causingMessages(batch, validateBatch(batch)) ?? []));
    return { name, batch, nodes: members };
  });
  return {
    view: 'queue',
    kind: 'flow',
    caller,
    name: root,
    parts,
    nodes: nodes.map((node, i) => ({
      parent: i === 0 ? -1 : node.parent,
      no: numbers[i] ?? 0,
      name: i === 0 ? '' : node.name,
      onFailure: policyOf(node, i),
      delayMs: node.job?.delayMs ?? 0,
    })),
    grows: true,
    mutation: mutationOf(mutation),
    causes: messages.length > 0 ? messages : undefined,
  };
}

/** The number of each node among its siblings. */
function numbersOf(nodes: readonly pb.FlowNode[]): number[] {
  const depths: number[] = [1];
  const sizes: number[] = [];
  const names = new Set<string>();
  return nodes.map(({ parent, name }, i) => {
    if (i === 0) return 0;
    if (parent >= i) {
      const rule = 'a node comes behind its parent, so that nothing waits for itself';
      throw new FlowError('INVALID_ARGUMENT', `node ${i} names ${parent} as its parent: ${rule}`);
    }
    const depth = (depths[parent] ?? 0) + 1;
    if (depth > DEPTH_MAX)
      throw new FlowError(
        'FLOW_TOO_LARGE',
        `node ${i} is on level ${depth}, at most ${DEPTH_MAX} are accepted`,
      );
    depths[i] = depth;
    if (Buffer.byteLength(name) > LIMITS.nameBytes)
      throw new FlowError('INVALID_ARGUMENT', `name of node ${i}: at most ${LIMITS.nameBytes} bytes`);
    if (name !== '' && names.size === names.add(`${parent} ${name}`).size)
      throw new FlowError('INVALID_ARGUMENT', `two children of node ${parent} are called ${name}`);
    const no = sizes[parent] ?? 0;
    sizes[parent] = no + 1;
    return no;
  });
}

function recordOf(
  { queue, job }: pb.FlowNode,
  i: number,
  home: { name: string; shard: number; shards: number },
  cause: MutationId['cause'],
): BatchRecord {
  checkName(queue, 'queue');
  if (isDeadLetterName(queue))
    throw new FlowError('INVALID_ARGUMENT', `${queue} is a dead-letter queue: a flow has no place in it`);
  if (shardOf(queue, home.shards) !== home.shard) {
    const cure = 'give all queues of a flow the same {tag}';
    throw new FlowError('CROSS_SHARD', `queue ${queue} lives on another shard than ${home.name}: ${cure}`);
  }
  if (job === null) throw new FlowError('INVALID_ARGUMENT', `node ${i} has no job`);
  if (i > 0 && job.dedupKey !== '') {
    const why = 'a child is waited for by one parent; only the root may have one';
    throw new FlowError('INVALID_ARGUMENT', `node ${i} has a dedup key: ${why}`);
  }
  if (job.dedupMode === 'debounce')
    throw new FlowError('INVALID_ARGUMENT', 'a flow cannot be debounced: use throttle or simple');
  return toBatchRecord(job, cause, i);
}

function policyOf({ onFailure }: pb.FlowNode, i: number): FailurePolicy {
  if (onFailure === '') return 'fail-parent';
  const known = FAILURE_POLICIES.find((name) => name === onFailure);
  const which = `onFailure of node ${i}`;
  if (known === undefined)
    throw new FlowError(
      'INVALID_ARGUMENT',
      `${which} is one of ${FAILURE_POLICIES.join(', ')}, not ${onFailure.slice(0, 60)}`,
    );
  if (i === 0) throw new FlowError('INVALID_ARGUMENT', `${which}: the root has no parent`);
  return known;
}
