// What the metadata of a KEDA trigger asks for. KEDA sends all of it, also what is meant for KEDA itself,
// such as `scalerAddress`: keys that are not ours are passed over.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ScalingTarget } from './board.ts';

export type ScalerMetric = 'lag' | 'demand';

const HOW =
  'write "queue", or "stream" and "group", and "metric" (lag or demand) into the metadata of the trigger';

/** Throws INVALID_ARGUMENT, and says what to write. */
export function scalerTarget(
  tenant: number,
  ref: pb.ScaledObjectRef | null,
): { target: ScalingTarget; metric: ScalerMetric } {
  const { queue = '', stream = '', group = '', metric = '' } = ref?.scalerMetadata ?? {};
  if (metric !== 'lag' && metric !== 'demand') throw wrong(ref, `"metric" is ${JSON.stringify(metric)}`);
  if (queue !== '' && stream === '' && group === '') return { target: { tenant, queue }, metric };
  if (queue === '' && stream !== '' && group !== '') return { target: { tenant, stream, group }, metric };
  const given = Object.entries({ queue, stream, group }).filter(([, value]) => value !== '');
  throw wrong(ref, given.map(([key, value]) => `"${key}" is ${JSON.stringify(value)}`).join(', '));
}

function wrong(ref: pb.ScaledObjectRef | null, found: string): FlowError {
  const object =
    ref === null ? 'a request without a ScaledObject' : `ScaledObject ${ref.namespace}/${ref.name}`;
  return new FlowError('INVALID_ARGUMENT', `${object}: ${found || 'no target'}; ${HOW}`);
}
