// Whether a history of one object can be put in an order that respects real time and is right step by step
// (Wing and Gong 1993, with the memory of Lowe 2017). Knows nothing of the object but `step`.

export interface Call<O> {
  readonly begin: number;
  /** Infinity: its outcome was never known. */
  readonly end: number;
  readonly op: O;
}

/** The state after `op`; undefined: it could not have answered so. */
export type Step<S, O> = (state: S, op: O) => S | undefined;

interface Node<O> {
  readonly call: Call<O>;
  readonly index: number;
  /** Undefined for the end of a call. */
  end: Node<O> | undefined;
  before: Node<O> | undefined;
  next: Node<O> | undefined;
}

/** null: it can; else how far one gets. */
export function nonlinear<S, O>(
  calls: readonly Call<O>[],
  start: S,
  step: Step<S, O>,
  nameOf: (state: S) => string,
): { readonly done: number; readonly state: S; readonly stuck: Call<O> } | null {
  const head = linked(calls);
  const seen = new Set<string>();
  const taken = new Uint8Array(calls.length);
  const stack: { node: Node<O>; state: S }[] = [];
  let state = start;
  let best = { done: -1, state, stuck: calls[0] as Call<O> };
  let at = head.next;
  while (head.next !== undefined) {
    if (at === undefined) break;
    if (at.end !== undefined) {
      const after = step(state, at.call.op);
      if (after !== undefined) {
        taken[at.index] = 1;
        const name = `${Buffer.from(taken).toString('latin1')} ${nameOf(after)}`;
        if (!seen.has(name)) {
          seen.add(name);
          stack.push({ node: at, state });
          state = after;
          unlink(at);
          at = head.next;
          continue;
        }
        taken[at.index] = 0;
      }
      at = at.next;
      continue;
    }
    // A call ended that could not be put anywhere: take back.
    if (stack.length > best.done) best = { done: stack.length, state, stuck: at.call };
    const last = stack.pop();
    if (last === undefined) return best;
    state = last.state;
    taken[last.node.index] = 0;
    relink(last.node);
    at = last.node.next;
  }
  return null;
}

function linked<O>(calls: readonly Call<O>[]): Node<O> {
  const nodes = calls.flatMap((call, index) => {
    const end: Node<O> = { call, index, end: undefined, before: undefined, next: undefined };
    const begin: Node<O> = { call, index, end, before: undefined, next: undefined };
    return [
      { at: call.begin, node: begin },
      { at: call.end, node: end },
    ];
  });
  nodes.sort((a, b) => a.at - b.at);
  const head: Node<O> = {
    call: { begin: 0, end: 0, op: undefined as O },
    index: -1,
    end: undefined,
    before: undefined,
    next: undefined,
  };
  let last = head;
  for (const { node } of nodes) {
    last.next = node;
    node.before = last;
    last = node;
  }
  return head;
}

function unlink<O>(node: Node<O>): void {
  for (const each of [node, node.end as Node<O>]) {
    (each.before as Node<O>).next = each.next;
    if (each.next !== undefined) each.next.before = each.before;
  }
}

function relink<O>(node: Node<O>): void {
  for (const each of [node.end as Node<O>, node]) {
    (each.before as Node<O>).next = each;
    if (each.next !== undefined) each.next.before = each;
  }
}
