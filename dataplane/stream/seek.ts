// Moves a group to another place, also while its members run.
//   1. At home the partitions get new epochs: commits of the old position are refused once the cursor knows.
//   2. The cursor is set, with the new epoch, on the partition's shard.
//   3. The owners are told and start again from there (groups.ts).
// A crash between 1 and 2 leaves the old position under a new epoch: nobody was told that the seek worked.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller } from '../shard/state-machine.ts';
import type { StreamCell } from './cells.ts';
import { type CursorPlace, type MoveItem, type Placed, type Repositioned, VIEW } from './commands.ts';
import { partitionNotFound, streamNotFound } from './declare.ts';
import type { Groups } from './groups.ts';
import { checkName, type Locator } from './locator.ts';

export async function seekGroup(
  locator: Locator,
  groups: Groups,
  caller: Caller,
  request: pb.SeekRequest,
): Promise<StreamCell> {
  checkName('group', request.group);
  const stream = locator.find(caller.tenant, request.stream);
  if (stream === undefined) throw streamNotFound(request.stream);
  const partitions = partitionsOf(stream, request.partition);
  const targets = await targetsOf(locator, stream, partitions, request);
  const name = { tenant: caller.tenant, stream: request.stream, group: request.group };
  await groups.step(name, async (placed) => {
    const base = { view: VIEW, caller, stream: request.stream, group: request.group } as const;
    const command = { ...base, kind: 'reposition', partitions, grows: true } as const;
    const { items } = await locator.home(request.stream).call<Repositioned>(command as never);
    const moves = items.map((item) => ({ ...item, to: targets.get(item.partition) ?? 'earliest' }));
    for (const place of await move(locator, base, moves, request)) placed.set(place.partition, place);
  });
  return stream;
}

/**
 * The mutation goes with the move: a repeat is given new epochs, which does no harm, and moves nothing again.
 */
async function move(
  locator: Locator,
  base: object,
  items: readonly MoveItem[],
  request: pb.SeekRequest,
): Promise<CursorPlace[]> {
  const mutation = mutationOf(request.mutation);
  const isExact = request.to === 'offset' && request.partition !== null;
  const calls = [...locator.byShard(request.stream, items)].map(async ([shard, own]) => {
    const command = { ...base, kind: 'move', mutation, items: own, isExact };
    return (await shard.call<Placed>(command as never)).places;
  });
  return (await Promise.all(calls)).flat();
}

function partitionsOf(stream: StreamCell, partition: number | null): number[] {
  const { partitions } = stream.cell.value;
  if (partition === null) return Array.from({ length: partitions }, (_, p) => p);
  if (partition >= partitions) throw partitionNotFound(stream, partition);
  return [partition];
}

async function targetsOf(
  locator: Locator,
  stream: StreamCell,
  partitions: readonly number[],
  request: pb.SeekRequest,
): Promise<Map<number, MoveItem['to']>> {
  if (request.to === 'position') {
    const { position } = request;
    if (position !== 'earliest' && position !== 'latest') {
      throw new FlowError('INVALID_ARGUMENT', `position is earliest or latest, not ${position}`);
    }
    return new Map(partitions.map((p) => [p, position]));
  }
  if (request.to === 'offset') {
    const { offset, partition } = request;
    // Asked here as well as in decide, so that a seek that is refused does not disturb the group.
    if (partition !== null) checkInside(locator, stream, partition, offset);
    return new Map(partitions.map((p) => [p, offset]));
  }
  if (request.to === 'timestampMs') {
    const { timestampMs } = request;
    const at = async (p: number) => {
      const { log, visibleEnd } = locator.partition(stream, p);
      return [p, Math.min(await log.offsetAt(timestampMs), visibleEnd)] as const;
    };
    return new Map(await Promise.all(partitions.map(at)));
  }
  throw new FlowError('INVALID_ARGUMENT', 'a seek needs an offset, a timestamp_ms or a position');
}

function checkInside(locator: Locator, stream: StreamCell, partition: number, offset: number): void {
  const { log, visibleEnd } = locator.partition(stream, partition);
  if (offset >= log.startOffset && offset <= visibleEnd) return;
  const range = `${log.startOffset} to ${visibleEnd}`;
  const { name } = stream.cell.value;
  throw new FlowError(
    'OFFSET_OUT_OF_RANGE',
    `partition ${partition} of stream ${name} holds offsets ${range}, not ${offset}`,
  );
}
