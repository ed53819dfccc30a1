// Queues, as the operator declares and shows them.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { effectiveQueue } from '../../../crds/effective.ts';
import { toQueueSpec } from '../../../crds/translate.ts';
import type { Queue, QueueSpec, QueueStatus } from '../../../crds/types.ts';
import type { KubeObject } from '../../kube/objects.ts';
import { type DeclaredKind, twoDigits } from '../declared/kinds.ts';

export interface QueueObject extends KubeObject {
  spec: QueueSpec;
  status?: QueueStatus;
}

export const QUEUE: DeclaredKind<QueueObject, 'queue'> = {
  kind: 'queue',
  resource: { group: 'flowmesh.io', version: 'v1alpha1', plural: 'queues', kind: 'Queue', namespaced: true },
  always: (queueName) => ({ queueName }),
  nameOf: ({ metadata, spec }) => spec.queueName ?? metadata.name,
  async declare(connection, object, claim, signal) {
    const spec = toQueueSpec(object as Queue);
    const { queue, ...answer } = await connection.declareQueue({ spec, ...claim }, signal);
    const effective = effectiveQueue(object as Queue, queue?.spec ?? {});
    return { ...answer, effective, figures: firstFigures(queue?.figures) };
  },
  remove: (connection, request, signal) => connection.deleteQueue(request, signal),
  figures: ({ waiting, delayed, blocked, waitingChildren, leased, dead, workers, workersWanted }) => ({
    ...{ waiting, delayed, blocked, waitingChildren, leased, dead, workers },
    ...(workersWanted !== null && { workersWanted }),
  }),
  oldestReadyAtMs: ({ oldestReadyAtMs }) => oldestReadyAtMs,
  scaled: ({ spec: { scaling } }) => (scaling === undefined ? [] : [{ scaling }]),
};

function firstFigures(figures: pb.QueueFigures | null | undefined): object {
  const { waiting = 0, delayed = 0, blocked = 0, waitingChildren = 0, leased = 0 } = figures ?? {};
  const counts = { waiting, delayed, blocked, waitingChildren, leased, dead: 0 };
  const rounded = Object.entries(counts).map(([name, count]) => [name, twoDigits(count)]);
  return { ...Object.fromEntries(rounded), workers: figures?.workers ?? 0 };
}
