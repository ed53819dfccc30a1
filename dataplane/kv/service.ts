// Keys and values for the adapters: splits a request by shard, runs the parts side by side, and puts the
// results back in request order. Owns no state.
//   S1. A request is refused as a whole only before anything was submitted, or when every part of it was
//       refused alike; else an operation whose shard refused carries that error in its own result.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { KvService } from '../services.ts';
import type { Caller, ShardPort } from '../shard/state-machine.ts';
import type { Rows } from '../storage/contract.ts';
import { errorResult, type KvCommand, keyspaceOf, kvReply, planRequest, type Step } from './command.ts';
import { createPast } from './past.ts';
import { type Place, runScan } from './scans.ts';
import type { KvView } from './view.ts';
import { createWatches } from './watches.ts';

export interface KvServiceParts {
  /** All three by shard. */
  readonly shards: readonly ShardPort[];
  readonly rows: readonly Rows[];
  readonly views: readonly Pick<KvView, 'keyspaces'>[];
}

export interface KeyValues extends KvService {
  /** For AdminService: keyspaces of the caller's tenant that have keys. */
  listKeyspaces(caller: Caller): Promise<pb.ListKeyspacesResponseInput>;
}

export function createKvService({ shards, rows, views }: KvServiceParts): KeyValues {
  const places: Place[] = shards.map((shard, i) => ({ shard, rows: rows[i] as Rows }));
  const past = createPast(places);
  return {
    async execute(caller, request) {
      if (request.asOf) return past(caller, request, request.asOf);
      const { steps, results } = planRequest(caller, request, shards.length);
      for (const step of steps) {
        if (step.commands.length > 0) await submitAll(shards, step, results);
        if (step.scan === -1) continue;
        const parts = { places, caller, keyspace: keyspaceOf(request) };
        const op = request.ops[step.scan] as pb.KvOp;
        results[step.scan] = await runScan(parts, op).catch(errorResult);
      }
      return kvReply(results);
    },

    openWatch: createWatches(shards),

    async listKeyspaces({ tenant }) {
      const counts = new Map<string, number>();
      for (const { name, keys } of views.flatMap((view) => view.keyspaces(tenant))) {
        counts.set(name, (counts.get(name) ?? 0) + keys);
      }
      await Promise.all(shards.map((shard) => shard.settled()));
      const keyspaces = [...counts].map(([name, keys]) => ({ name, keys }));
      return { keyspaces: keyspaces.sort((a, b) => (a.name < b.name ? -1 : 1)) };
    },
  };
}

/** Resolves when every command has answered and `results` is filled; rejects if all were refused (S1). */
function submitAll(shards: readonly ShardPort[], step: Step, results: pb.KvResultInput[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let waiting = step.commands.reduce((count) => count + 1, 0);
    let answered = 0;
    const settle = (command: KvCommand, error: FlowError | null, reply: unknown) => {
      waiting--;
      if (error === null) answered++;
      fill(command, error === null ? (reply as pb.KvResultInput[]) : errorResult(error), results);
      if (waiting > 0) return;
      if (answered === 0 && error !== null) reject(error);
      else resolve();
    };
    step.commands.forEach((command, shard) => {
      shards[shard]?.submit(command, (error, reply) => settle(command, error, reply));
    });
  });
}

function fill(
  command: KvCommand,
  answer: readonly pb.KvResultInput[] | pb.KvResultInput,
  results: pb.KvResultInput[],
): void {
  for (let i = 0; i < command.plans.length; i++) {
    const plan = command.plans[i] as KvCommand['plans'][number];
    results[plan.index] = Array.isArray(answer)
      ? (answer[i] as pb.KvResultInput)
      : (answer as pb.KvResultInput);
  }
}
