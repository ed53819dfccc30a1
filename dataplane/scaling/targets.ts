// Where queues and consumer groups that ask for scaling are found, whatever shard they live on.
import { FlowError } from '@flowmesh/protocol';
import type { ScalingTarget } from './board.ts';
import type { ScalingView } from './live-board.ts';
import type { ConsumerGroupSpec, ScalingSpec } from './spec.ts';

export interface TargetSources {
  /** Undefined: there is no such queue. */
  queue(tenant: number, name: string): { readonly spec: { readonly scaling?: ScalingSpec } } | undefined;
  /** Undefined: there is no such stream. */
  stream(tenant: number, name: string): ScaledStream | undefined;
}

export interface ScaledStream {
  readonly consumerGroups: readonly ConsumerGroupSpec[];
  hasGroup(group: string): boolean;
}

export function scalingViews({ queue, stream }: TargetSources): ScalingView {
  return {
    specOf(target: ScalingTarget) {
      if ('queue' in target) {
        const found = queue(target.tenant, target.queue);
        if (found === undefined) throw missing('QUEUE_NOT_FOUND', `there is no queue ${target.queue}`);
        return found.spec.scaling ?? null;
      }
      const found = stream(target.tenant, target.stream);
      if (found === undefined) throw missing('STREAM_NOT_FOUND', `there is no stream ${target.stream}`);
      const spec = found.consumerGroups.find(({ name }) => name === target.group);
      if (spec === undefined && !found.hasGroup(target.group))
        throw missing('GROUP_NOT_FOUND', `stream ${target.stream} has no consumer group ${target.group}`);
      return spec?.scaling ?? null;
    },
  };
}

const missing = (code: 'QUEUE_NOT_FOUND' | 'STREAM_NOT_FOUND' | 'GROUP_NOT_FOUND', message: string) =>
  new FlowError(code, message);
