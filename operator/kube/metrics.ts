// Metrics under the names that every controller uses, so that dashboards and alerts made for others fit.
//   M1. Labels are names of controllers, methods and codes: bounded.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { QueueMeter, WorkQueue } from './work-queue.ts';

export type ReconcileOutcome = 'success' | 'error' | 'requeue_after';

export interface ControllerMeter extends QueueMeter {
  reconciled(result: ReconcileOutcome, seconds: number): void;
  /** Depth and workers are asked for when somebody scrapes. */
  watch(queue: WorkQueue): void;
}

export interface KubeMetrics {
  controller(name: string, workersMax: number): ControllerMeter;
  answer(answer: { method: string; host: string; code: string }): void;
  relisted(resource: string, reason: string): void;
  leading(name: string, leads: boolean): void;
  event(outcome: 'sent' | 'aggregated' | 'dropped' | 'failed'): void;
}

const WORK_SECONDS = [1e-3, 1e-2, 0.1, 1, 10, 60, 120];
const QUEUE_SECONDS = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 60, 600];
const RECONCILE_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createKubeMetrics(registry: Registry): KubeMetrics {
  const queues = new Map<string, { queue: WorkQueue; workersMax: number }>();
  const named = workMetrics(registry, queues);
  const registers = [registry];
  const answers = new Counter({
    name: 'rest_client_requests_total',
    help: 'Number of HTTP requests, partitioned by status code, method, and host.',
    labelNames: ['code', 'method', 'host'] as const,
    registers,
  });
  const relists = new Counter({
    name: 'flowmesh_operator_relists_total',
    help: 'Lists that informers made, by resource and reason (start, gone, unknown-version).',
    labelNames: ['resource', 'reason'] as const,
    registers,
  });
  const leader = new Gauge({
    name: 'leader_election_master_status',
    help: 'Whether this process holds the lease of that name.',
    labelNames: ['name'] as const,
    registers,
  });
  const events = new Counter({
    name: 'flowmesh_operator_events_total',
    help: 'Kubernetes events by outcome (sent, aggregated, dropped, failed).',
    labelNames: ['outcome'] as const,
    registers,
  });
  return {
    controller(name, workersMax) {
      for (const result of ['success', 'error', 'requeue_after']) {
        named.total.inc({ controller: name, result }, 0);
      }
      named.errors.inc({ controller: name }, 0);
      named.workersMax.set({ controller: name }, workersMax);
      return {
        added: () => named.adds.inc({ name, controller: name }),
        retried: () => named.retries.inc({ name, controller: name }),
        waited: (ms) => named.waited.observe({ name, controller: name }, ms / 1000),
        worked: (ms) => named.worked.observe({ name, controller: name }, ms / 1000),
        reconciled(result, seconds) {
          named.total.inc({ controller: name, result });
          if (result === 'error') named.errors.inc({ controller: name });
          named.seconds.observe({ controller: name }, seconds);
        },
        watch: (queue) => void queues.set(name, { queue, workersMax }),
      };
    },
    answer: (labels) => answers.inc(labels),
    relisted: (resource, reason) => relists.inc({ resource, reason }),
    leading: (name, leads) => leader.set({ name }, leads ? 1 : 0),
    event: (outcome) => events.inc({ outcome }),
  };
}

function workMetrics(registry: Registry, queues: ReadonlyMap<string, { queue: WorkQueue }>) {
  const registers = [registry];
  const queueLabels = ['name', 'controller'] as const;
  const byController = ['controller'] as const;
  const asked = (name: string, help: string, of: (queue: WorkQueue) => number) =>
    new Gauge({
      name,
      help,
      labelNames: queueLabels,
      registers,
      collect() {
        for (const [each, { queue }] of queues) this.set({ name: each, controller: each }, of(queue));
      },
    });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: number[],
  ) => new Histogram({ name, help, labelNames, buckets, registers });

  asked('workqueue_depth', 'Current depth of workqueue.', (queue) => queue.depth);
  asked(
    'workqueue_unfinished_work_seconds',
    'Seconds of work that is in progress and not yet in work_duration.',
    (queue) => queue.activeMs().reduce((sum, ms) => sum + ms, 0) / 1000,
  );
  asked(
    'workqueue_longest_running_processor_seconds',
    'Seconds that the longest running processor has been running.',
    (queue) => Math.max(0, ...queue.activeMs()) / 1000,
  );
  new Gauge({
    name: 'controller_runtime_active_workers',
    help: 'Number of currently used workers per controller.',
    labelNames: byController,
    registers,
    collect() {
      for (const [each, { queue }] of queues) this.set({ controller: each }, queue.activeCount);
    },
  });
  return {
    adds: counter('workqueue_adds_total', 'Total number of adds handled by workqueue.', queueLabels),
    retries: counter('workqueue_retries_total', 'Total number of retries handled by workqueue.', queueLabels),
    waited: histogram(
      'workqueue_queue_duration_seconds',
      'Seconds an item stays in workqueue before being requested.',
      queueLabels,
      QUEUE_SECONDS,
    ),
    worked: histogram(
      'workqueue_work_duration_seconds',
      'Seconds that processing an item from workqueue takes.',
      queueLabels,
      WORK_SECONDS,
    ),
    total: counter('controller_runtime_reconcile_total', 'Total number of reconciliations per controller.', [
      'controller',
      'result',
    ]),
    errors: counter(
      'controller_runtime_reconcile_errors_total',
      'Total number of reconciliation errors per controller.',
      byController,
    ),
    seconds: histogram(
      'controller_runtime_reconcile_time_seconds',
      'Length of time per reconciliation per controller.',
      byController,
      RECONCILE_SECONDS,
    ),
    workersMax: new Gauge({
      name: 'controller_runtime_max_concurrent_reconciles',
      help: 'Maximum number of concurrent reconciles per controller.',
      labelNames: byController,
      registers,
    }),
  };
}
