// A flow as its clients know it: a tree of jobs, what was said of each, and what that means for those above,
// by the rules of docs/spec/queues.md. Pure.
//   F1. What was said may have happened until it is refused; what was confirmed has happened.
//   F2. The ends of several children reach their parent in any order.

export type End = 'completed' | 'dead' | 'cancelled';
export type Policy = '' | 'fail-parent' | 'ignore' | 'continue' | 'remove';

/** The word of somebody who held a job. */
export interface Word {
  readonly kind: 'ack' | 'die' | 'retry';
  readonly result: string;
  isRefused: boolean;
}

export class FlowNode {
  readonly payload: string;
  readonly queue: string;
  readonly onFailure: Policy;
  readonly parent: FlowNode | null;
  readonly children: FlowNode[] = [];
  /** By which its parent finds it. */
  readonly name: string;
  id = '';
  lastEpoch = 0;
  readonly words: Word[] = [];
  cancel: 'none' | 'asked' | 'done' = 'none';
  /** Where it was then. */
  cancelledFrom = '';
  /** Shard time and virtual time when the cancel was confirmed; 0: not known, or not cancelled. */
  cancelledMs = 0;
  cancelledAtMs = 0;
  /** Confirmed to a client; what follows from the ends of others is not. */
  end: End | null = null;
  /** Of a completed one. */
  result = '';

  constructor(payload: string, queue: string, onFailure: Policy, parent: FlowNode | null) {
    this.payload = payload;
    this.queue = queue;
    this.onFailure = onFailure;
    this.parent = parent;
    this.name = parent === null ? '' : `c${parent.children.length}`;
    parent?.children.push(this);
  }
}

/** In pre-order. */
export const nodesOf = (root: FlowNode): FlowNode[] => [root, ...root.children.flatMap(nodesOf)];

export const failsParent = ({ onFailure }: FlowNode): boolean =>
  onFailure === '' || onFailure === 'fail-parent';

const mayHaveBeen = (node: FlowNode, kind: Word['kind']): boolean =>
  node.words.some((word) => word.kind === kind && !word.isRefused);

/** Nobody did anything to it. */
export const isSilent = ({ words, cancel }: FlowNode): boolean => words.length === 0 && cancel === 'none';

export function mayHaveFailed(node: FlowNode): boolean {
  if (node.end === 'completed') return false;
  return (
    node.end !== null ||
    node.cancel !== 'none' ||
    mayHaveBeen(node, 'die') ||
    mayBeTakenAlong(node) ||
    node.children.some((child) => failsParent(child) && mayHaveFailed(child))
  );
}

/** A parent that is cancelled while it waits takes its children with it. */
export function mayBeTakenAlong({ parent }: FlowNode): boolean {
  if (parent === null) return false;
  const isTaking =
    parent.cancel === 'asked' || (parent.cancel === 'done' && parent.cancelledFrom === 'waiting_children');
  return isTaking || mayBeTakenAlong(parent);
}

export const mayHaveEnded = (node: FlowNode): boolean =>
  node.end !== null || mayHaveBeen(node, 'ack') || mayHaveFailed(node);

/** A child by which it need not wait for the others. */
export const mayGoOn = ({ children }: FlowNode): boolean =>
  children.some((child) => child.onFailure === 'continue' && mayHaveFailed(child));

/** Nothing can keep it from ending without an ack any more, or from having done so. */
export function isDoomed(node: FlowNode): boolean {
  if (node.end !== null) return node.end !== 'completed';
  return !mayGoOn(node) && node.children.some((child) => failsParent(child) && isDoomed(child));
}

/** Its children may let it be handed out. */
export const mayBeLetGo = (node: FlowNode): boolean =>
  mayGoOn(node) ||
  (node.children.every(mayHaveEnded) && !node.children.some((c) => failsParent(c) && isDoomed(c)));

/** What the server shows of a node in the end; `removed`: its parent's list has it no more. */
export type Shown = End | 'removed' | string;

/** What is wrong with where a node is in the end, given where all the others are; null: nothing. */
export function wrongEnd(node: FlowNode, shown: ReadonlyMap<FlowNode, Shown>): string | null {
  const is = shown.get(node) ?? 'nowhere';
  const isRemoved = is === 'removed';
  if (isRemoved && node.onFailure !== 'remove') return 'it was taken out, against its policy';
  if (node.end === 'completed') return is === 'completed' ? null : `it was acked, and is ${is}`;
  if (node.end !== null) {
    const should = node.onFailure === 'remove' && node.parent !== null ? 'removed' : node.end;
    return is === should ? null : `it should be ${should}, and is ${is}`;
  }
  if (!isRemoved && is !== 'dead' && is !== 'cancelled') return `nobody ended it, and it is ${is}`;
  if (is !== 'cancelled' && isFailedByChild(node, shown)) return null;
  if (is !== 'dead' && isTakenAlong(node, shown)) return null;
  return `it is ${is}, without a reason`;
}

const isFailedByChild = ({ children }: FlowNode, shown: ReadonlyMap<FlowNode, Shown>): boolean =>
  children.some((child) => {
    if (!failsParent(child)) return false;
    const is = shown.get(child) ?? child.end;
    // The id of one is unknown whose flow had no answer, and whose parent was taken out before it was listed:
    // its own children tell.
    return is === null ? isFailedByChild(child, shown) : is === 'dead' || is === 'cancelled';
  });

function isTakenAlong({ parent }: FlowNode, shown: ReadonlyMap<FlowNode, Shown>): boolean {
  if (parent === null) return false;
  if (parent.end !== null) return parent.end === 'cancelled' && parent.cancelledFrom === 'waiting_children';
  return shown.get(parent) === 'cancelled' || (shown.get(parent) === 'removed' && mayBeTakenAlong(parent));
}
