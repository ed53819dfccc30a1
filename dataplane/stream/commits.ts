// Commits of offsets: each goes to the shard of its partition, where its cursor is; one command for each
// shard.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller } from '../shard/state-machine.ts';
import { type CommittedReply, commitCommand } from './commands.ts';
import { streamNotFound } from './declare.ts';
import type { Locator } from './locator.ts';
import { errorMessage } from './publish.ts';

/** One result for each offset, in order; an empty code: durable. */
export async function commitOffsets(
  locator: Locator,
  caller: Caller,
  request: pb.CommitRequest,
): Promise<pb.ErrorInput[]> {
  const { stream, group, memberId: member } = request;
  if (locator.find(caller.tenant, stream) === undefined) throw streamNotFound(stream);
  const mutation = mutationOf(request.mutation);
  const results: pb.ErrorInput[] = request.offsets.map(() => ({}));
  const numbered = request.offsets.map(({ partition, offset, epoch, metadata }, index) => ({
    // Named one by one: defaults of a decoded message are on its prototype, where a spread does not look.
    partition,
    offset,
    epoch,
    metadata,
    index,
  }));
  const calls = [...locator.byShard(stream, numbered)].map(async ([shard, offsets]) => {
    const command = commitCommand(
      caller,
      { stream, group, member, offsets },
      { mutation, isAllOrNothing: false },
    );
    const answers = await answersOf(shard.call<CommittedReply>(command), offsets.length);
    offsets.forEach(({ index }, i) => {
      results[index] = answers[i] ?? {};
    });
  });
  await Promise.all(calls);
  return results;
}

/** A shard that refuses says so for its own offsets only: those of other shards may be durable. */
async function answersOf(call: Promise<CommittedReply>, count: number): Promise<pb.ErrorInput[]> {
  try {
    return (await call).results.map((failure) => failure ?? {});
  } catch (error) {
    if (!(error instanceof FlowError)) throw error;
    return new Array(count).fill(errorMessage(error));
  }
}
