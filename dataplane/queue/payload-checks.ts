// Jobs of queues with a schema are checked where they are decided, so that the schema is the one of that
// moment. A queue without one costs one look at its spec for each batch.
//   P1. What comes back from the dead-letter queue was checked when it came first: schemas that came
//       later do not keep it there.
//   P2. A tick whose payload does not match makes no job, and is counted as skipped.
import { FlowError, readHead } from '@flowmesh/protocol';
import { checkWhole, type Schemas, violationOf } from '../schema/check.ts';
import type { QueueCell } from './cell.ts';
import type { EnqueueCommand, EnqueueReply, FlowCommand } from './commands.ts';
import { scheduledJob } from './schedule-spec.ts';
import type { ResolvedSpec } from './tables.ts';

/** `enqueue` decides about what matches. */
export function checkedEnqueue(
  schemas: Schemas,
  cell: QueueCell,
  command: EnqueueCommand,
  enqueue: (checked: EnqueueCommand) => EnqueueReply,
): EnqueueReply {
  const ref = cell.spec.schemaRef;
  if (ref === undefined || command.isReturn) return enqueue(command);
  const { batch, head, refused } = schemas.check(cell.tenant, ref, command.batch, command.head);
  if (refused.length === 0) return enqueue({ ...command, batch, head });
  if (!command.isPartial) throw violationOf('job', refused);
  if (head.count === 0) return { idPrefix: '', firstOffset: 0, count: 0, refused };
  return { ...enqueue({ ...command, batch, head }), refused };
}

export function checkedFlow(
  schemas: Schemas,
  cellOf: (name: string) => QueueCell,
  command: FlowCommand,
): FlowCommand {
  const parts = command.parts.map((part) => {
    const { tenant, spec } = cellOf(part.name);
    if (spec.schemaRef === undefined) return part;
    const { batch, refused } = schemas.check(tenant, spec.schemaRef, part.batch, readHead(part.batch));
    if (refused.length === 0) return { ...part, batch };
    const nodes = refused.map(({ index, message }) => ({ index: part.nodes[index] ?? 0, message }));
    throw violationOf('node', nodes);
  });
  return { ...command, parts };
}

/** Throws if a job that the queue is to enqueue by itself would not be taken. */
export function checkSchedules(schemas: Schemas, tenant: number, spec: ResolvedSpec): void {
  if (spec.schemaRef === undefined) return;
  for (const schedule of spec.schedules ?? []) {
    const batch = scheduledJob(schedule, 0);
    const { refused } = schemas.check(tenant, spec.schemaRef, batch, readHead(batch));
    const [refusal] = refused;
    if (refusal !== undefined)
      throw new FlowError('SCHEMA_VIOLATION', `schedule ${schedule.name}: ${refusal.message}`);
  }
}

/** The job of a tick as it is to be stored; undefined: none (P2). */
export function checkedTick(schemas: Schemas, cell: QueueCell, batch: Buffer): Buffer | undefined {
  const ref = cell.spec.schemaRef;
  if (ref === undefined) return batch;
  try {
    return checkWhole(schemas, 'job', [cell.tenant, ref, batch, readHead(batch)]).batch;
  } catch (error) {
    if (error instanceof FlowError) return undefined;
    throw error;
  }
}
