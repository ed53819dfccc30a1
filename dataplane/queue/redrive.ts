// Redrive: moves dead jobs back to their source (or elsewhere on the same shard). Each step is one
// transaction (enqueue there, remove here), so that a crash or a cancelled call neither loses nor doubles a
// job.
import {
  type DecodedRecord,
  decodeEntry,
  encodeBatch,
  FlowError,
  readEntries,
  shardOf,
  validateBatch,
} from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller } from '../shard/state-machine.ts';
import { readU53be } from '../storage/keys.ts';
import type { QueueCell } from './cell.ts';
import type { EnqueueCommand, RemoveCommand } from './commands.ts';
import { aliveAgain } from './dead-job.ts';
import type { Queues } from './service.ts';
import { loadEntry } from './sources.ts';

const REDRIVE_MAX = 1000;
const STEP = 100;
const STEP_BYTES = 1024 * 1024;

export async function redrive(
  queues: Queues,
  caller: Caller,
  request: pb.RedriveRequest,
): Promise<pb.RedriveResponseInput> {
  const { shard, view } = queues.at(request.queue);
  const cell = view.cell(caller.tenant, request.queue);
  const max = Math.min(REDRIVE_MAX, request.max || REDRIVE_MAX);
  let moved = 0;
  while (moved < max) {
    await shard.settled();
    const step = await nextWaiting(cell, Math.min(STEP, max - moved));
    if (step.jobs.length === 0) break;
    const remove: RemoveCommand = {
      view: 'queue',
      kind: 'remove',
      caller,
      name: request.queue,
      fromCursor: step.fromCursor,
      toCursor: step.toCursor,
      plain: step.plain,
      ready: step.ready,
    };
    const commands = [...byTarget(step.jobs, request.targetQueue)].map(([name, jobs]): EnqueueCommand => {
      if (name === '')
        throw new FlowError(
          'INVALID_ARGUMENT',
          `jobs of ${request.queue} do not say where they came from: name a target queue`,
        );
      if (shardOf(name, shard.shards) !== shard.id)
        throw new FlowError(
          'CROSS_SHARD',
          `queue ${name} lives on another shard than ${request.queue}: give them the same {tag}`,
        );
      const batch = encodeBatch(jobs.map(aliveAgain));
      return {
        view: 'queue',
        kind: 'enqueue',
        caller,
        name,
        batch,
        head: validateBatch(batch),
        isReturn: jobs.every(({ sourceQueue }) => sourceQueue === name),
      };
    });
    try {
      await shard.transact([...commands, remove], undefined);
      moved += step.jobs.length;
    } catch (error) {
      // A worker took some of them meanwhile: look again.
      if (!(error instanceof FlowError && error.code === 'REVISION_MISMATCH')) throw error;
    }
  }
  const remaining = cell.waiting;
  await shard.settled();
  return { moved, remaining };
}

/** The next waiting jobs below `untilOffset` in the order a worker would get them. */
export async function nextWaiting(cell: QueueCell, max: number, untilOffset = Number.POSITIVE_INFINITY) {
  const jobs: DecodedRecord[] = [];
  const ready: number[] = [];
  const fromCursor = cell.state.cursor;
  let bytes = 0;
  if (cell.ready.isStale()) await cell.ready.refill();
  for (const { key } of cell.ready.take(max)) {
    const offset = readU53be(key, key.length - 7);
    if (offset >= untilOffset) break;
    ready.push(offset);
    jobs.push(await recordAt(cell, offset));
  }
  let cursor = fromCursor;
  let plain = 0;
  const endOffset = Math.min(cell.log.endOffset, untilOffset);
  for (; cursor < endOffset && jobs.length < max && bytes < STEP_BYTES; cursor++) {
    if (cell.holes.has(cursor)) continue;
    const record = await recordAt(cell, cursor);
    if (record.indexed) continue;
    jobs.push(record);
    bytes += record.value?.length ?? 0;
    plain++;
  }
  return { jobs, ready, plain, fromCursor, toCursor: cursor };
}

export async function recordAt(cell: QueueCell, offset: number): Promise<DecodedRecord> {
  const { bytes, head, index } = await loadEntry(cell.log, offset);
  const span = readEntries(bytes, 0, head)[index];
  if (span === undefined)
    throw new FlowError('DATA_DAMAGED', `queue ${cell.name}: no entry at offset ${offset}`);
  return decodeEntry(bytes, head, span, offset);
}

function byTarget(jobs: readonly DecodedRecord[], target: string): Map<string, DecodedRecord[]> {
  const groups = new Map<string, DecodedRecord[]>();
  for (const job of jobs) {
    const name = target || (job.sourceQueue ?? '');
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [job]);
    else group.push(job);
  }
  return groups;
}
