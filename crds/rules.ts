// What a schema cannot say: rules across fields, in words that the definitions repeat as CEL for the API
// server.
//   R1. Every CEL rule of the definitions that does not compare with the old object is here, under the same
//        message.
import type { FieldProblem } from './problems.ts';
import type { FlowMeshCluster, Queue, Resource, Schema, Stream } from './types.ts';
import { parseDurationMs } from './values.ts';

export function violations(resource: Resource): FieldProblem[] {
  switch (resource.kind) {
    case 'FlowMeshCluster':
      return cluster(resource);
    case 'Queue':
      return queue(resource);
    case 'Stream':
      return stream(resource);
    case 'Schema':
      return schema(resource);
  }
}

function cluster({ spec }: FlowMeshCluster): FieldProblem[] {
  const found: FieldProblem[] = [];
  const engine = spec.journal?.engine ?? 'Embedded';
  if (engine === 'Embedded' && (spec.replicas ?? 1) > 1) {
    found.push({
      path: ['spec', 'replicas'],
      message: 'the Embedded journal lives in one pod; set replicas to 1, or use another engine',
      cure: 'write replicas: 1',
    });
  }
  if (engine === 'JetStream' && spec.journal?.jetStream === undefined) {
    found.push({
      path: ['spec', 'journal', 'engine'],
      message: 'the JetStream engine needs journal.jetStream.url',
      cure: 'add jetStream: { url: nats://... }',
    });
  }
  return found;
}

function queue({ metadata, spec }: Queue): FieldProblem[] {
  const found: FieldProblem[] = [];
  const name = spec.queueName ?? metadata.name;
  if (spec.deadLetter?.queueName === name) {
    found.push({
      path: ['spec', 'deadLetter', 'queueName'],
      message: 'a queue cannot be its own dead-letter queue',
      cure: `name another, such as ${name}.dead`,
    });
  }
  const { initial, max } = spec.delivery?.backoff ?? {};
  if (
    initial !== undefined &&
    max !== undefined &&
    (parseDurationMs(initial) ?? 0) > (parseDurationMs(max) ?? 0)
  ) {
    found.push({
      path: ['spec', 'delivery', 'backoff', 'initial'],
      message: `the first wait (${initial}) is longer than the longest (${max})`,
      cure: 'raise max or lower initial',
    });
  }
  return [...found, ...scaling(spec.scaling, ['spec', 'scaling'])];
}

function stream({ spec }: Stream): FieldProblem[] {
  return (spec.consumerGroups ?? []).flatMap((group, index) =>
    scaling(group.scaling, ['spec', 'consumerGroups', index, 'scaling']),
  );
}

function scaling(
  value: { scaleFrom?: number; scaleTo?: number } | undefined,
  path: (string | number)[],
): FieldProblem[] {
  const { scaleFrom, scaleTo } = value ?? {};
  if (scaleFrom === undefined || scaleTo === undefined || scaleFrom <= scaleTo) return [];
  const cure = `swap them, or write scaleTo: ${scaleFrom}`;
  return [{ path: [...path, 'scaleFrom'], message: 'scaleFrom must not be above scaleTo', cure }];
}

function schema({ spec }: Schema): FieldProblem[] {
  return spec.versions.flatMap(({ version }, index): FieldProblem[] => {
    const before = spec.versions[index - 1]?.version ?? 0;
    if (version > before) return [];
    const cure = 'list the versions from the oldest to the newest';
    return [
      { path: ['spec', 'versions', index, 'version'], message: `version ${version} after ${before}`, cure },
    ];
  });
}
