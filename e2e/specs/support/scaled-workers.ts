// Workers that are scaled: what they ran, how many there are, and the work they are given. The Deployment
// `worker` takes the jobs of queue `emails`, `consumer` reads stream `orders` as group `billing`.
import { connect, type FlowMesh } from '@flowmesh/client';
import { ports } from './data-plane.ts';
import type { Forward, Namespace } from './kubectl.ts';
import { workload } from './workload.ts';

const envFrom = [{ secretRef: { name: 'main-flowmesh-binding' } }];

/** Each takes `loadMs` before it begins, as programs do that have much to load. */
export const workers = (replicas: number, loadMs = 0): object =>
  workload('worker', 'worker.ts', { replicas, envFrom, env: { LOAD_MS: `${loadMs}` }, graceSeconds: 60 });

export const consumers = (replicas: number): object =>
  workload('consumer', 'consumer.ts', { replicas, envFrom, graceSeconds: 60 });

/** What a worker writes when it starts a job. */
interface Start {
  readonly n: number;
  readonly pod: string;
  readonly attempt: number;
}

interface Line {
  readonly fm: FlowMesh;
  readonly forward: Forward;
}

export class ScaledWorkers {
  readonly #space: Namespace;
  #line: Line;
  #enqueued = 0;

  private constructor(space: Namespace, line: Line) {
    this.#space = space;
    this.#line = line;
  }

  static async dial(space: Namespace): Promise<ScaledWorkers> {
    return new ScaledWorkers(space, await lineTo(space));
  }

  /** A forwarded port ends with its pod. */
  async redial(): Promise<void> {
    await this.close();
    this.#line = await lineTo(this.#space);
  }

  /** Jobs that take `ms` each; returns the number of the first. */
  async enqueue(count: number, ms: number): Promise<number> {
    const first = this.#enqueued;
    this.#enqueued += count;
    const jobs = Array.from({ length: count }, (_, index) => ({ n: first + index, ms }));
    await this.#line.fm.queue.enqueueMany('emails', jobs);
    return first;
  }

  /** Jobs that nobody has finished. */
  async open(): Promise<number> {
    const { figures } = await this.#line.fm.admin.getQueue('emails');
    if (figures === null) throw new Error('a queue has figures');
    return figures.waiting + figures.delayed + figures.blocked + figures.leased;
  }

  /** Jobs, from that number on, that were not started exactly once, with what is known of their starts. */
  async notOnce(first = 0): Promise<string[]> {
    const starts = Array.from({ length: this.#enqueued }, (): string[] => []);
    for (let offset = 0; ; ) {
      const page = await this.#line.fm.stream.read<Start>('runs', { partition: 0, offset });
      for (const { value, timestamp } of page.records) {
        const { n, pod, attempt } = value;
        starts[n]?.push(`attempt ${attempt} in ${pod} at ${new Date(timestamp).toISOString()}`);
      }
      if (page.nextOffset >= page.endOffset) break;
      offset = page.nextOffset;
    }
    return starts.flatMap((of, n) =>
      of.length === 1 || n < first ? [] : [`job ${n}: ${of.join(', ') || 'none'}`],
    );
  }

  /** Records that take `ms` each, on all partitions. */
  async publish(count: number, ms: number): Promise<void> {
    const events = Array.from({ length: count }, () => ({ ms }));
    await this.#line.fm.stream.writeMany('orders', events, { key: (_event, index) => `customer-${index}` });
  }

  /** Records that the group has not committed. */
  async lag(): Promise<number> {
    const { streams } = await this.#line.fm.admin.figures();
    const orders = streams.find(({ name }) => name === 'orders');
    const billing = orders?.groups.find(({ group }) => group === 'billing');
    if (billing === undefined) throw new Error('there is no group billing of stream orders');
    return billing.lag;
  }

  async ready(): Promise<number> {
    const { status } = await this.#space.get('deployment', 'worker');
    return status.readyReplicas ?? 0;
  }

  /** Pods that there are still, also those that are ending. */
  async pods(): Promise<number> {
    return (await this.#space.get('pods', '--selector=app=worker')).items.length;
  }

  async asked(deployment: 'worker' | 'consumer' = 'worker'): Promise<number> {
    return (await this.#space.get('deployment', deployment)).spec.replicas;
  }

  async close(): Promise<void> {
    await this.#line.fm.close();
    await this.#line.forward.close();
  }
}

/** Through the Service of the cluster `main`, by what its binding says. */
async function lineTo(space: Namespace): Promise<Line> {
  await space.kubectl('wait', 'fmc/main', '--for=condition=Ready', '--timeout=90s');
  const { data } = await space.get('secret', 'main-flowmesh-binding');
  const text = (key: string) => Buffer.from(data[key], 'base64').toString();
  const forward = await space.forward('service/main-flowmesh', ports.grpc);
  const tls = { ca: text('ca.crt') };
  const fm = await connect({ address: `localhost:${forward.port}`, token: text('token'), tls });
  return { fm, forward };
}
