// What clients saw of flows, judged as they see it and once more in the end: a flow is there as a whole or
// not at all, a parent waits for its children as their policies say, and everything comes to its end.
import type { FlowChild } from '@flowmesh/protocol/gen/flowmesh.js';
import {
  type FlowNode,
  isDoomed,
  isSilent,
  mayBeLetGo,
  mayGoOn,
  mayHaveEnded,
  mayHaveFailed,
  nodesOf,
  type Shown,
  type Word,
  wrongEnd,
} from './flow-tree.ts';
import type { Sim } from './sim.ts';

export interface Flow {
  readonly root: FlowNode;
  readonly dedupKey: string;
  /** Children that are not due before it is cancelled. */
  readonly isShelved: boolean;
  /** `doubtful`: whoever enqueued it gave up before there was an answer. */
  state: 'asked' | 'there' | 'absent' | 'doubtful';
}

/** A job as it was handed out. */
interface Given {
  readonly id: string;
  readonly payload: string;
  readonly leaseEpoch: number;
}

/** Shard time before and after a decision; 0: not known. */
export interface Between {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A decision carries the time at which its entry was opened: in calm times a write of the disk ago. */
const STALE_MS = 100;
/** Until a parent that was cancelled has taken its children with it, over crashes and a disk that drags. */
const TAKING_MS_MAX = 15_000;

export class FlowBook {
  readonly #sim: Sim;
  readonly flows: Flow[] = [];
  readonly #nodes = new Map<string, { node: FlowNode; flow: Flow }>();
  readonly #byId = new Map<string, FlowNode>();
  readonly #newest = new Map<string, { readonly root: FlowNode; readonly at: Between }>();
  /** Nobody enqueues or cancels any more, and the queues are empty. */
  isQuiet = false;

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  begin(root: FlowNode, dedupKey: string, isShelved: boolean): Flow {
    const flow: Flow = { root, dedupKey, isShelved, state: 'asked' };
    this.flows.push(flow);
    for (const node of nodesOf(root)) this.#nodes.set(`${node.queue} ${node.payload}`, { node, flow });
    return flow;
  }

  /** All of it, under these ids. */
  accepted(flow: Flow, ids: readonly string[]): void {
    const nodes = nodesOf(flow.root);
    const how = () => `${flow.root.payload}: ${ids.length} ids for ${nodes.length} jobs`;
    this.#sim.expect(ids.length === nodes.length, 'each job of a flow has an answer', how);
    flow.state = 'there';
    nodes.forEach((node, i) => {
      this.#identify(node, ids[i] ?? '');
    });
  }

  /** The server said so. */
  refused(flow: Flow): void {
    const seen = nodesOf(flow.root).find(({ id }) => id !== '');
    const how = () => `${seen?.payload} is there as ${seen?.id}, and its flow was refused`;
    this.#sim.expect(seen === undefined, 'a flow is there as a whole or not at all', how);
    flow.state = 'absent';
  }

  gaveUp(flow: Flow): void {
    if (flow.state === 'asked') flow.state = 'doubtful';
  }

  #identify(node: FlowNode, id: string): void {
    const what = () => `${node.payload} of ${node.queue} is ${node.id} and ${id}`;
    this.#sim.expect(node.id === '' || node.id === id, 'a job has one id', what);
    const other = this.#byId.get(id);
    const both = () => `${id} is ${other?.payload} and ${node.payload}`;
    this.#sim.expect(other === undefined || other === node, 'an id is one job', both);
    node.id = id;
    this.#byId.set(id, node);
  }

  /** `id`: that of the root that was there already; empty: the flow is new. */
  deduplicated(flow: Flow, id: string, at: Between, windowMs: number): void {
    const before = this.#newest.get(flow.dedupKey);
    const now = () => `flow ${flow.root.payload}, key ${flow.dedupKey}, at ${at.fromMs} to ${at.toMs}`;
    const how = () => `${now()}: ${id}, and before ${before?.root.id} at ${before?.at.fromMs}`;
    if (id === '') {
      const isKnown = this.#sim.isCalm && before !== undefined && at.toMs > 0 && before.at.fromMs > 0;
      const isWithin = isKnown && at.toMs < before.at.fromMs - STALE_MS + windowMs;
      this.#sim.expect(!isWithin, 'a dedup key is one flow in its window', how);
      this.#newest.set(flow.dedupKey, { root: flow.root, at });
      return;
    }
    this.#sim.count('flow deduplicated');
    this.#sim.expect(before?.root.id === id, 'a flow is deduplicated by that before it', how);
    this.refused(flow);
  }

  deliver({ id, payload, leaseEpoch }: Given, queue: string, grantedMs: number): FlowNode | null {
    const sim = this.#sim;
    const known = this.#nodes.get(`${queue} ${payload}`);
    const what = () => `job ${id} of ${queue} (${payload}), epoch ${leaseEpoch}, granted at ${grantedMs}`;
    if (known === undefined) {
      sim.broken('only what was enqueued is delivered', what());
      return null;
    }
    const { node, flow } = known;
    sim.expect(flow.state !== 'absent', 'a flow is there as a whole or not at all', what);
    flow.state = 'there';
    this.#identify(node, id);
    sim.expect(leaseEpoch > node.lastEpoch, 'epochs only grow', () => `${what()} after ${node.lastEpoch}`);
    node.lastEpoch = leaseEpoch;
    sim.expect(node.end === null || node.end === 'cancelled', 'no delivery after a confirmed end', what);
    const isLate = node.cancelledMs > 0 && grantedMs > node.cancelledMs;
    sim.expect(
      !isLate,
      'a cancelled job is not handed out',
      () => `${what()}, cancelled ${node.cancelledMs}`,
    );
    this.#checkTaken(node, what);
    if (node.children.length === 0) return node;
    sim.count('parent delivered');
    const waits = () => `${what()}; its children: ${node.children.map(told).join('; ')}`;
    sim.expect(mayBeLetGo(node), 'a parent waits for its children as their policies say', waits);
    return node;
  }

  /**
   * Nothing below a parent that was cancelled while it waited comes much later; further below, if nothing can
   * have ended those between them before.
   */
  #checkTaken(node: FlowNode, what: () => string): void {
    for (let { parent } = node; parent !== null; { parent } = parent) {
      if (parent.cancelledFrom === 'waiting_children') {
        const sinceMs = this.#sim.world.nowMs - parent.cancelledAtMs;
        const how = () => `${what()}, ${sinceMs} ms after the end of ${parent?.payload}`;
        this.#sim.expect(sinceMs < TAKING_MS_MAX, 'a cancelled parent takes its children with it', how);
      }
      if (!nodesOf(parent).every(isSilent)) return;
    }
  }

  says(node: FlowNode, kind: Word['kind'], result: string): Word {
    const word = { kind, result, isRefused: false };
    node.words.push(word);
    return word;
  }

  settled(node: FlowNode, word: Word, isDone: boolean): void {
    word.isRefused = !isDone;
    if (!isDone || word.kind === 'retry') return;
    const what = () => `job ${node.id} (${node.payload}) is ${node.end}, and ${word.kind} was confirmed`;
    this.#sim.expect(node.end === null, 'a job ends once', what);
    node.end = word.kind === 'ack' ? 'completed' : 'dead';
    node.result = word.result;
    this.#sim.count(`flow job ${node.end}`);
  }

  cancelled(node: FlowNode, isDone: boolean, from: string): void {
    const what = () => `job ${node.id} (${node.payload}), ${node.end}, cancelled from ${from}`;
    node.cancel = isDone ? 'done' : 'none';
    if (!isDone) {
      this.#sim.expect(mayHaveEnded(node), 'a job that is not finished can be cancelled', what);
      return;
    }
    this.#sim.expect(node.end === null, 'a job ends once', what);
    node.end = 'cancelled';
    node.cancelledFrom = from;
    node.cancelledMs = this.#sim.shardMs(node.queue);
    node.cancelledAtMs = this.#sim.world.nowMs;
    this.#sim.count(from === 'waiting_children' ? 'flow cancelled' : 'flow job cancelled');
  }

  /** What a parent that is held, or anybody in the end, is told of its children. */
  listed(node: FlowNode, list: readonly FlowChild[], isHeld: boolean): void {
    const sim = this.#sim;
    const byName = new Map(list.map((child) => [child.name, child]));
    const how = () =>
      `${node.payload}: ${list.map(({ name, id, state }) => `${name} ${id} ${state}`).join()}`;
    sim.expect(byName.size === list.length, 'a parent has each child once', how);
    for (const child of node.children) {
      const shown = byName.get(child.name);
      byName.delete(child.name);
      const what = () => `${how()}; ${told(child)}; its result is ${shown?.result}`;
      if (shown === undefined) {
        const mayBeOut = child.onFailure === 'remove' && mayHaveFailed(child);
        sim.expect(mayBeOut, 'a parent finds each of its children', what);
        continue;
      }
      this.#identify(child, shown.id);
      const isItself = shown.queue === child.queue && (shown.onFailure || 'fail-parent') === policyOf(child);
      sim.expect(isItself, 'a parent finds each of its children', what);
      sim.expect(mayBeShown(child, shown), 'what a parent sees of a child is what happened', what);
      const isWaitedFor = isHeld && shown.state === 'open' && !mayGoOn(node);
      sim.expect(!isWaitedFor, 'a parent waits for its children as their policies say', what);
      if (shown.state === 'completed') sim.count('result found');
    }
    sim.expect(byName.size === 0, 'a parent finds its own children only', how);
  }

  /** Nobody has confirmed their end, which may follow from that of others. */
  open(): FlowNode[] {
    return this.present.flatMap(nodesOf).filter(({ end }) => end === null);
  }

  /** Roots of all flows that are there. */
  get present(): FlowNode[] {
    return this.flows.filter(({ state }) => state === 'there').map(({ root }) => root);
  }

  /** Everything is quiet: where each job of a flow is whose id anybody knows. */
  checkEnds(root: FlowNode, shown: ReadonlyMap<FlowNode, Shown>): void {
    for (const node of nodesOf(root).filter((each) => shown.has(each))) {
      const wrong = wrongEnd(node, shown);
      const how = () => `${told(node)}: ${wrong}; its children: ${node.children.map(told).join('; ')}`;
      this.#sim.expect(wrong === null, 'every job of a flow comes to its end', how);
    }
  }
}

const policyOf = ({ onFailure }: FlowNode): string => onFailure || 'fail-parent';

function mayBeShown(child: FlowNode, { state, result }: FlowChild): boolean {
  const said = result.toString();
  if (state === 'completed') {
    if (child.end !== null) return child.end === 'completed' && said === child.result;
    return child.words.some((word) => word.kind === 'ack' && !word.isRefused && word.result === said);
  }
  if (said !== '') return false;
  // The news may be on its way to the parent.
  if (state === 'open') return true;
  return mayHaveFailed(child) && (child.end === null || child.end === state);
}

const told = (node: FlowNode): string => {
  const words = node.words.map(({ kind, isRefused }) => (isRefused ? `${kind} in vain` : kind));
  const facts = [node.end ?? 'open', ...words, isDoomed(node) ? 'doomed' : '', `cancel ${node.cancel}`];
  return `${node.payload} ${node.id} ${policyOf(node)} ${facts.join(' ')}`;
};
