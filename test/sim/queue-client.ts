// What clients of queues with a checker of their own share: one call each, decoded as over the wire.
import type { FlowError } from '@flowmesh/protocol';
import {
  EnqueueResponse,
  type LeasedJob,
  LeaseResponse,
  type NewJob,
  Queue,
  type QueueFigures,
  type QueueSpec,
  type Settlement,
  SettleResponse,
} from '@flowmesh/protocol/gen/flowmesh.js';
import { Client, caller } from './sim.ts';

export class QueueClient extends Client {
  async apply(spec: QueueSpec): Promise<void> {
    const outcome = await this.until(`declare ${spec.name}`, (fabric) =>
      fabric.admin.applyQueue(caller, spec),
    );
    if (outcome.kind === 'refused') this.sim.broken('a good request is served', outcome.error.message);
  }

  /** Ids, or why not. */
  async enqueue(queue: string, jobs: readonly NewJob[]): Promise<string[] | FlowError> {
    const request = { queue, jobs: [...jobs], mutation: this.mutation() };
    const outcome = await this.until(`enqueue ${queue} ${jobs.length}`, async (fabric) => {
      const reply = await fabric.queues.enqueue(caller, request);
      return EnqueueResponse.decode(EnqueueResponse.encode(reply).finish());
    });
    return outcome.kind === 'refused' ? outcome.error : outcome.value.jobs.map(({ id }) => id);
  }

  /** Nothing, too, if the answer was lost. */
  async lease(queue: string, max: number, waitMs: number): Promise<readonly LeasedJob[]> {
    const request = { queue, max, waitMs, visibilityMs: 0, worker: this.name };
    const outcome = await this.once(`lease ${queue}`, async (fabric) => {
      const reply = await fabric.queues.lease(caller, request, new AbortController().signal);
      return LeaseResponse.decode(LeaseResponse.encode(reply).finish());
    });
    if (outcome.kind !== 'done') return [];
    for (const { id, leaseEpoch } of outcome.value.jobs) {
      this.sim.world.note(`${this.name} is given ${id} ${leaseEpoch}`);
    }
    return outcome.value.jobs;
  }

  /** Empty: done; else the code. */
  async settle(queue: string, settlement: Settlement, what: string): Promise<string> {
    const request = { queue, settlements: [settlement], mutation: this.mutation() };
    const outcome = await this.until(what, async (fabric) => {
      const reply = await fabric.queues.settle(caller, request);
      return SettleResponse.decode(SettleResponse.encode(reply).finish());
    });
    if (outcome.kind === 'done') return outcome.value.results[0]?.code ?? '';
    this.sim.broken('a good request is served', `${what}: ${outcome.error.message}`);
    return outcome.error.code;
  }

  /** Within milliseconds, in the midst of `what`; not if the server ends before by itself. */
  protected crashSoon(what: string): void {
    const { world, machine } = this.sim;
    const { life } = machine;
    this.sim.count(`fault in ${what}`);
    const [isPower, survival, downMs] = [this.chance.hit(0.3), this.chance.next(), this.chance.int(1, 100)];
    world.after(this.chance.next() * 4, () => {
      if (life === machine.life) machine.crash(isPower, survival, downMs);
    });
  }

  async figuresOf(name: string): Promise<QueueFigures | null> {
    const outcome = await this.until(`figures ${name}`, async (fabric) => {
      const reply = await fabric.admin.getQueue(caller, { name });
      return Queue.decode(Queue.encode(reply).finish());
    });
    return outcome.kind === 'done' ? outcome.value.figures : null;
  }

  /** In the end the figures are what the history says. */
  async checkFigures(name: string, told: Partial<QueueFigures>): Promise<void> {
    const wanted: Partial<QueueFigures> = { waiting: 0, delayed: 0, blocked: 0, leased: 0, ...told };
    const figures = await this.figuresOf(name);
    const shown = Object.fromEntries(Object.keys(wanted).map((each) => [each, figures?.[each as never]]));
    const how = () => `${name} shows ${JSON.stringify(shown)}, the history says ${JSON.stringify(wanted)}`;
    this.sim.expect(JSON.stringify(shown) === JSON.stringify(wanted), 'figures are what happened', how);
  }
}
