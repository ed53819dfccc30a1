// Flows over several queues of a shard: who enqueues them, works their jobs, cancels some, and looks in the
// end where each of their jobs is.
import {
  CancelJobResponse,
  type EnqueueFlowRequest,
  EnqueueFlowResponse,
  type FlowNode as FlowNodeMessage,
  Job,
  type LeasedJob,
  ListChildrenResponse,
  type Settlement,
} from '@flowmesh/protocol/gen/flowmesh.js';
import { aJob, aQueue, nackOf } from '../queue/bench.ts';
import type { Flow, FlowBook } from './flow-book.ts';
import { type End, FlowNode, nodesOf, type Policy, type Shown, type Word } from './flow-tree.ts';
import { QueueClient } from './queue-client.ts';
import { caller } from './sim.ts';

const ROOTS = '{flow}roots';
const MIDDLE = '{flow}middle';
/** Jobs without children only: these are forgotten soon after they are finished, before their parents. */
const LEAVES = '{flow}leaves';
const QUEUES = [ROOTS, MIDDLE, LEAVES];
/** So few that flows are refused because one of their queues is full. */
const LEAVES_MAX = 14;
const VISIBILITY_MS = 1500;
const DEDUP_MS = 2000;
const POLICIES: readonly Policy[] = ['', 'fail-parent', 'ignore', 'continue', 'remove'];
const CHILDREN_MAX = 4;
/** Of a flow, so that its leaves find room. */
const NODES_MAX = LEAVES_MAX - 2;
const LEVELS_MAX = 3;
/** Of what is to be cancelled before. */
const SHELVED_MS = 30_000;
/** More than it takes to try a read again. */
const SETTLING_MS = 3000;

export class FlowProducer extends QueueClient {
  isOver = false;
  #no = 0;

  async declare(): Promise<void> {
    const backoff = { type: 'fixed', initialMs: 50, maxMs: 50, jitter: 'none' };
    const more = { visibilityTimeoutMs: VISIBILITY_MS, maxAttempts: 1000, maxDeliveries: 1000, backoff };
    await this.apply(aQueue(ROOTS, { ...more, deduplicationWindowMs: DEDUP_MS }));
    await this.apply(aQueue(MIDDLE, more));
    await this.apply(aQueue(LEAVES, { ...more, maxDepth: LEAVES_MAX, retentionMs: 3000 }));
  }

  async run(book: FlowBook): Promise<void> {
    while (!this.sim.isClosing) {
      await this.think(50, 900);
      const isShelved = this.chance.hit(0.06);
      const dedupKey = !isShelved && this.chance.hit(0.3) ? `${this.name}.${this.chance.int(0, 1)}` : '';
      const flow = book.begin(this.#grow(), dedupKey, isShelved);
      // Somebody who gives up after the first try does not know.
      if (dedupKey === '' && !isShelved && this.chance.hit(0.3)) await this.#tryOnce(book, flow);
      else await this.#enqueue(book, flow);
    }
    this.isOver = true;
  }

  #grow(): FlowNode {
    const { chance } = this;
    const name = `${this.name}.${++this.#no}`;
    // Some are in one queue.
    const queues = chance.hit(0.2) ? [ROOTS] : [ROOTS, MIDDLE, MIDDLE];
    const leaves = queues.length === 1 ? ROOTS : LEAVES;
    const root = new FlowNode(name, ROOTS, '', null);
    let size = 1;
    const addChildren = (parent: FlowNode, level: number) => {
      for (let left = chance.int(1, CHILDREN_MAX); left > 0 && size < NODES_MAX; left--) {
        const isParent = level < LEVELS_MAX && size < NODES_MAX - 1 && chance.hit(0.25);
        size++;
        const queue = isParent || chance.hit(0.3) ? chance.pick(queues) : leaves;
        const payload = `${parent.payload}/${parent.children.length}`;
        const child = new FlowNode(payload, queue, chance.pick(POLICIES), parent);
        if (isParent) addChildren(child, level + 1);
      }
    };
    addChildren(root, 1);
    return root;
  }

  #request({ root, dedupKey, isShelved }: Flow): EnqueueFlowRequest {
    const { chance } = this;
    const all = nodesOf(root);
    const nodes = all.map((node): FlowNodeMessage => {
      const { payload, queue, name, onFailure, parent, children } = node;
      const isLate = isShelved && children.length === 0;
      const delayMs = isLate ? SHELVED_MS : chance.hit(0.15) ? chance.int(1, 600) : 0;
      const key = !isShelved && chance.hit(0.2) ? chance.pick(['ka', 'kb']) : '';
      const priority = chance.hit(0.15) ? chance.int(1, 3) : 0;
      const job = aJob(payload, { delayMs, key, priority, dedupKey: parent === null ? dedupKey : '' });
      return { queue, job, name, onFailure, parent: parent === null ? 0 : all.indexOf(parent) };
    });
    return { nodes, mutation: this.mutation() };
  }

  async #enqueue(book: FlowBook, flow: Flow): Promise<void> {
    const request = this.#request(flow);
    const fromMs = this.sim.isCalm ? this.sim.shardMs(ROOTS) : 0;
    const outcome = await this.until(`flow ${flow.root.payload}`, async (fabric) => {
      const reply = await fabric.queues.enqueueFlow(caller, request);
      return EnqueueFlowResponse.decode(EnqueueFlowResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return this.sim.broken('a good request is served', outcome.error.message);
    const { jobs } = outcome.value;
    const isRepeat = jobs[0]?.deduplicated === true;
    const at = { fromMs, toMs: this.sim.shardMs(ROOTS) };
    if (!isRepeat)
      book.accepted(
        flow,
        jobs.map(({ id }) => id),
      );
    if (flow.dedupKey !== '') book.deduplicated(flow, isRepeat ? (jobs[0]?.id ?? '') : '', at, DEDUP_MS);
  }

  async #tryOnce(book: FlowBook, flow: Flow): Promise<void> {
    const request = this.#request(flow);
    const outcome = await this.once(`flow-once ${flow.root.payload}`, async (fabric) => {
      const reply = await fabric.queues.enqueueFlow(caller, request);
      return EnqueueFlowResponse.decode(EnqueueFlowResponse.encode(reply).finish());
    });
    if (outcome.kind === 'done')
      book.accepted(
        flow,
        outcome.value.jobs.map(({ id }) => id),
      );
    else if (outcome.kind === 'refused' && outcome.error.code === 'QUEUE_FULL') book.refused(flow);
    else book.gaveUp(flow);
  }
}

export class FlowWorker extends QueueClient {
  async run(book: FlowBook): Promise<void> {
    while (!book.isQuiet) {
      await this.think(5, 80);
      const queue = this.chance.pick(QUEUES);
      const jobs = await this.lease(queue, this.chance.int(1, 4), this.chance.hit(0.5) ? 0 : 200);
      const held = jobs.map((job) => {
        const payload = job.payload.toString();
        return { job, node: book.deliver({ ...job, payload }, queue, job.deadlineMs - VISIBILITY_MS) };
      });
      for (const { job, node } of held) if (node !== null) await this.#handle(book, node, job);
    }
  }

  async #handle(book: FlowBook, node: FlowNode, job: LeasedJob): Promise<void> {
    const { chance, sim } = this;
    if (node.children.length > 0) await this.#look(book, node, job.leaseEpoch);
    if (chance.hit(0.6)) await this.pause(0, 120);
    // Its lease ends by itself.
    if (!sim.isClosing && chance.hit(0.04)) return;
    const kind = sim.isClosing
      ? 'ack'
      : chance.weigh<Word['kind']>([
          [80, 'ack'],
          [12, 'die'],
          [8, 'retry'],
        ]);
    const word = book.says(node, kind, kind === 'ack' ? `${node.payload} by ${job.leaseEpoch}` : '');
    // Between the end of a child and what it does to its parent.
    if (!sim.isClosing && chance.hit(0.03)) this.crashSoon('a flow');
    const code = await this.settle(
      node.queue,
      settlementOf(job, word),
      `${kind} ${job.id} ${job.leaseEpoch}`,
    );
    book.settled(node, word, code === '');
  }

  async #look(book: FlowBook, node: FlowNode, leaseEpoch: number): Promise<void> {
    const request = { queue: node.queue, id: node.id, cursor: '', limit: 0, leaseEpoch };
    const outcome = await this.once('children-of-held', async (fabric) => {
      const reply = await fabric.queues.listChildren(caller, request);
      return ListChildrenResponse.decode(ListChildrenResponse.encode(reply).finish());
    });
    if (outcome.kind === 'done') book.listed(node, outcome.value.children, true);
  }
}

function settlementOf(job: LeasedJob, { kind, result }: Word): Settlement {
  if (kind !== 'ack') return nackOf(job, { unrecoverable: kind === 'die' });
  const ack = { result: Buffer.from(result), resultContentType: 'text/plain' };
  return { id: job.id, leaseEpoch: job.leaseEpoch, ack } as Settlement;
}

/** Cancels this and that, all that is shelved, and says when everything is quiet. */
export class FlowOverseer extends QueueClient {
  readonly #tried = new Set<FlowNode>();

  async run(book: FlowBook, producers: readonly { readonly isOver: boolean }[]): Promise<void> {
    while (producers.some(({ isOver }) => !isOver) || this.#shelved(book).length > 0) {
      await this.think(30, 400);
      const shelved = this.#shelved(book);
      const open = this.sim.isClosing
        ? []
        : book.open().filter(({ id, cancel }) => id !== '' && cancel === 'none');
      const from = shelved.length > 0 ? shelved : open;
      if (from.length > 0 && (shelved.length > 0 || this.chance.hit(0.4)))
        await this.#cancel(book, this.chance.pick(from));
    }
    // What a parent that goes on does not wait for, and the move of a dead job, may take a moment longer.
    do {
      while (!(await this.#isEmpty())) await this.pause(50, 300);
      await this.sim.world.sleep(SETTLING_MS);
    } while (!(await this.#isEmpty()));
    book.isQuiet = true;
  }

  #shelved({ flows }: FlowBook): FlowNode[] {
    const isDue = ({ isShelved, state, root }: Flow) =>
      isShelved && state === 'there' && root.end === null && !this.#tried.has(root);
    return flows.filter(isDue).map(({ root }) => root);
  }

  async #cancel(book: FlowBook, node: FlowNode): Promise<void> {
    node.cancel = 'asked';
    this.#tried.add(node);
    const request = { queue: node.queue, id: node.id, reason: 'not needed', mutation: this.mutation() };
    const outcome = await this.until(`cancel ${node.id}`, async (fabric) => {
      const reply = await fabric.queues.cancelJob(caller, request);
      return CancelJobResponse.decode(CancelJobResponse.encode(reply).finish());
    });
    if (outcome.kind === 'done') {
      book.cancelled(node, outcome.value.cancelled, outcome.value.state);
      return;
    }
    // A finished job leaves when its retention is over.
    const { code, message } = outcome.error;
    this.sim.expect(code === 'JOB_NOT_FOUND', 'a good request is served', () => message);
    book.cancelled(node, false, 'gone');
  }

  async #isEmpty(): Promise<boolean> {
    for (const name of QUEUES) {
      const figures = await this.figuresOf(name);
      if (figures === null) return false;
      const { waiting, delayed, blocked, leased, waitingChildren } = figures;
      if (waiting + delayed + blocked + leased + waitingChildren > 0) return false;
    }
    return true;
  }

  async check(book: FlowBook): Promise<void> {
    for (const root of book.present) {
      const shown = new Map<FlowNode, Shown>();
      await this.#see(book, root, shown);
      book.checkEnds(root, shown);
    }
    const nodes = book.present.flatMap(nodesOf);
    for (const name of QUEUES) {
      const here = nodes.filter(({ queue }) => queue === name);
      const count = (wanted: End) => here.filter(({ end }) => end === wanted).length;
      const told = { enqueuedTotal: here.length, completedTotal: count('completed'), waitingChildren: 0 };
      await this.checkFigures(name, told);
      const { deadTotal = 0, cancelledTotal = 0 } = (await this.figuresOf(name)) ?? {};
      const failed = here.length - count('completed');
      const how = () => `${name}: ${deadTotal} dead and ${cancelledTotal} cancelled, not ${failed} in all`;
      this.sim.expect(deadTotal + cancelledTotal === failed, 'figures are what happened', how);
    }
  }

  /** Where a root and everything below it is. */
  async #see(book: FlowBook, root: FlowNode, shown: Map<FlowNode, Shown>): Promise<void> {
    if (root.id === '') return;
    const outcome = await this.until(`look ${root.id}`, async (fabric) => {
      const reply = await fabric.queues.getJob(caller, { queue: root.queue, id: root.id });
      return Job.decode(Job.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return this.sim.broken('a good request is served', outcome.error.message);
    shown.set(root, outcome.value.state);
    for (const node of nodesOf(root))
      if (node.children.length > 0) await this.#seeChildren(book, node, shown);
  }

  async #seeChildren(book: FlowBook, node: FlowNode, shown: Map<FlowNode, Shown>): Promise<void> {
    if (node.id === '') return;
    const request = { queue: node.queue, id: node.id, cursor: '', limit: 0, leaseEpoch: 0 };
    const outcome = await this.until(`children ${node.id}`, async (fabric) => {
      const reply = await fabric.queues.listChildren(caller, request);
      return ListChildrenResponse.decode(ListChildrenResponse.encode(reply).finish());
    });
    if (outcome.kind === 'refused') return this.sim.broken('a good request is served', outcome.error.message);
    book.listed(node, outcome.value.children, false);
    const states = new Map(outcome.value.children.map(({ name, state }) => [name, state]));
    for (const child of node.children) shown.set(child, states.get(child.name) ?? 'removed');
  }
}
