// Finds streams and the shards of their partitions, and makes streams that are missing. Shared by everything
// in the service, so that a declaration is in one place.
//   L1. A stream exists when its home shard has it; the other shards are told first.
//   L2. What waits for a stream to be made goes on in the order it came.
import { FlowError, LIMITS, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { OneAtATime } from '../admin/one-at-a-time.ts';
import type { Claim, Claimed, Owner } from '../admin/ownership.ts';
import { readConsumerGroups } from '../scaling/spec.ts';
import { violationOf } from '../schema/check.ts';
import type { SchemaHolder } from '../schema/registry.ts';
import { readSchemaRef } from '../schema/spec.ts';
import type { Caller, Command, MutationId, ShardPort } from '../shard/state-machine.ts';
import type { PartitionCell, StreamCell } from './cells.ts';
import {
  type ClaimedReply,
  type Declare,
  type DeletedReply,
  type Done,
  type Publish,
  type ReleasedReply,
  VIEW,
} from './commands.ts';
import { claimOf, inRequest, partitionNotFound, streamNotFound } from './declare.ts';
import { type Placement, placementOf, shardOfPartition } from './placement.ts';
import { CLEANUPS, NO_COMPACTION } from './tables.ts';
import type { StreamView } from './view.ts';

export const STREAM_DEFAULTS = {
  partitions: 4,
  retentionMs: 7 * 24 * 3_600_000,
  /** No limit. */
  retentionBytes: 0,
  cleanup: 'delete',
  /** Of streams that are compacted. */
  tombstoneRetentionMs: 24 * 3_600_000,
} as const;

/** A declaration journals one event for each partition of a shard in one entry. */
const PARTITIONS_MAX = 1024;
/** Names whose shard is remembered, instead of hashed for each batch. */
const PLACEMENTS_MAX = 10_000;

export interface Spec {
  readonly name: string;
  /** 0: as it is, or the default. */
  readonly partitions: number;
  /** 0: the default. */
  readonly retentionMs: number;
  readonly retentionBytes: number;
  /** Empty: the default. */
  readonly cleanup: string;
  readonly minCompactionLagMs: number;
  /** 0: the default. */
  readonly tombstoneRetentionMs: number;
  readonly schemaRef: pb.SchemaRef | null;
  readonly consumerGroups: readonly pb.ConsumerGroupSpec[];
}

const UNSET = {
  partitions: 0,
  retentionMs: 0,
  retentionBytes: 0,
  cleanup: '',
  minCompactionLagMs: 0,
  tombstoneRetentionMs: 0,
  schemaRef: null,
  consumerGroups: [],
};

export interface DeleteTerms {
  /** Only if it has no records. */
  readonly ifEmpty?: boolean;
  readonly owner?: Owner | undefined;
  readonly mutation?: MutationId | undefined;
}

type Waiter = (error: FlowError | null, stream: StreamCell | undefined) => void;

export interface LocatorParts {
  readonly shards: readonly ShardPort[];
  readonly views: readonly StreamView[];
  readonly schemas: SchemaHolder;
  readonly autoCreate: boolean;
  readonly random: () => number;
  /** Members wanted; null: nothing asks for it, or it is not known. */
  readonly wanted: (target: GroupTarget) => number | null;
}

/** A consumer group by its names. */
export interface GroupTarget {
  readonly tenant: number;
  readonly stream: string;
  readonly group: string;
}

export class Locator {
  readonly shards: readonly ShardPort[];
  readonly views: readonly StreamView[];
  readonly wanted: LocatorParts['wanted'];
  readonly #schemas: SchemaHolder;
  readonly #autoCreate: boolean;
  readonly #random: () => number;
  readonly #placements = new Map<string, Placement>();
  readonly #creating = new Map<string, Waiter[]>();
  /** One declaration or deletion of a name at a time. */
  readonly #changes = new OneAtATime();

  constructor(parts: LocatorParts) {
    this.shards = parts.shards;
    this.views = parts.views;
    this.wanted = parts.wanted;
    this.#schemas = parts.schemas;
    this.#autoCreate = parts.autoCreate;
    this.#random = parts.random;
  }

  placement(name: string): Placement {
    let placement = this.#placements.get(name);
    if (placement === undefined) {
      if (this.#placements.size >= PLACEMENTS_MAX) this.#placements.clear();
      placement = placementOf(name, this.shards.length);
      this.#placements.set(name, placement);
    }
    return placement;
  }

  home(name: string): ShardPort {
    return this.shards[this.placement(name).home] as ShardPort;
  }

  shardOf(name: string, partition: number): ShardPort {
    return this.shards[shardOfPartition(this.placement(name), partition, this.shards.length)] as ShardPort;
  }

  find(tenant: number, name: string): StreamCell | undefined {
    return this.views[this.placement(name).home]?.find(tenant, name);
  }

  /** The stream; made if it may be. */
  async need(caller: Caller, name: string): Promise<StreamCell> {
    const found = this.#creating.has(idOf(caller.tenant, name)) ? undefined : this.find(caller.tenant, name);
    if (found !== undefined) return found;
    return new Promise((resolve, reject) => {
      this.create(caller, name, (error, stream) => (stream === undefined ? reject(error) : resolve(stream)));
    });
  }

  /** The stream if nobody has to wait for it (L2). */
  ready(tenant: number, name: string): StreamCell | undefined {
    if (this.#creating.size > 0 && this.#creating.has(idOf(tenant, name))) return undefined;
    return this.find(tenant, name);
  }

  create(caller: Caller, name: string, waiter: Waiter): void {
    if (!this.#autoCreate) {
      waiter(streamNotFound(name), undefined);
      return;
    }
    const id = idOf(caller.tenant, name);
    const waiters = this.#creating.get(id);
    if (waiters !== undefined) {
      waiters.push(waiter);
      return;
    }
    const all = [waiter];
    this.#creating.set(id, all);
    const finish = (error: FlowError | null) => {
      const stream = error === null ? this.find(caller.tenant, name) : undefined;
      for (const each of all) each(stream === undefined ? (error ?? streamNotFound(name)) : null, stream);
      this.#creating.delete(id);
    };
    const spec = { ...UNSET, name };
    this.declare(caller, spec).then(
      () => finish(null),
      (error: FlowError) => finish(error),
    );
  }

  async declare(caller: Caller, spec: Spec, claim?: Claim): Promise<Claimed | undefined> {
    checkName('stream', spec.name);
    const schemaRef = spec.schemaRef === null ? undefined : readSchemaRef(spec.schemaRef);
    return this.#changes.run(caller.tenant, spec.name, () =>
      this.#schemas.holding(caller.tenant, schemaRef, () => this.#declare(caller, spec, claim)),
    );
  }

  async #declare(caller: Caller, spec: Spec, claim?: Claim): Promise<Claimed | undefined> {
    const { name } = spec;
    const home = this.home(name);
    const known = this.find(caller.tenant, name)?.cell.value;
    const partitions = spec.partitions || (known?.partitions ?? STREAM_DEFAULTS.partitions);
    if (partitions > PARTITIONS_MAX) {
      throw new FlowError(
        'INVALID_ARGUMENT',
        `${partitions} partitions, at most ${PARTITIONS_MAX} are possible`,
      );
    }
    const command = {
      view: VIEW,
      kind: 'declare',
      caller,
      grows: true,
      stream: name,
      uid: known?.uid ?? home.nowMs() * 1000 + Math.floor(this.#random() * 1000),
      partitions,
      retentionMs: spec.retentionMs || STREAM_DEFAULTS.retentionMs,
      retentionBytes: spec.retentionBytes,
      createdAtMs: known?.createdAtMs ?? home.nowMs(),
      ...cleanupOf(spec),
      schemaRef: spec.schemaRef === null ? null : readSchemaRef(spec.schemaRef),
      consumerGroups: readConsumerGroups(spec.consumerGroups),
    } as const;
    const others = this.#shardsOf(name, partitions).filter((shard) => shard !== home);
    if (known !== undefined && partitions < known.partitions) others.length = 0; // Home says why not.
    if (claim !== undefined) {
      // Home decides, but the others are told first (L1): what it will refuse must not reach them.
      await home.settled();
      claimOf(this.find(caller.tenant, name)?.cell.value, command, claim);
    }
    await Promise.all(others.map((shard) => shard.call(command)));
    const reply = await home.call<Done | ClaimedReply>({ ...command, claim } as Declare);
    return reply.kind === 'claimed' ? reply.claimed : undefined;
  }

  async release(
    caller: Caller,
    name: string,
    owner: Owner | undefined,
    mutation: MutationId | undefined,
  ): Promise<boolean> {
    const command = { view: VIEW, kind: 'disown', caller, stream: name, owner, mutation } as Command;
    const ask = () => this.home(name).call<ReleasedReply>(command);
    return (await this.#changes.run(caller.tenant, name, ask)).released;
  }

  delete(caller: Caller, name: string, { ifEmpty = false, owner, mutation }: DeleteTerms): Promise<void> {
    return this.#changes.run(caller.tenant, name, async () => {
      const home = this.home(name);
      const command = { view: VIEW, kind: 'delete', caller, stream: name } as const;
      const others = this.shards.filter((shard) => shard !== home);
      const seal = (isSealed: boolean) =>
        Promise.all(others.map((shard) => shard.call({ ...command, kind: 'seal', isSealed } as Command)));
      // Home first: from then on nobody finds it. Its reply to a repeat names the uid that was deleted, so
      // that a stream declared anew in between is left alone.
      const remove = async () => {
        if (ifEmpty) await seal(true);
        return home.call<DeletedReply>({ ...command, uid: 0, ifEmpty, owner, mutation } as Command);
      };
      const { uid } = await remove().catch(async (error: unknown) => {
        if (ifEmpty) await seal(false);
        throw error;
      });
      await Promise.all(others.map((shard) => shard.call({ ...command, uid } as never).catch(ignoreMissing)));
    });
  }

  /** What a crash between two shards left: parts of streams whose home does not have them. */
  async reconcile(): Promise<void> {
    for (const [i, view] of this.views.entries()) {
      const shard = this.shards[i] as ShardPort;
      for (const { tenant, cell } of [...view.allStreams()]) {
        const { name, uid } = cell.value;
        if (this.placement(name).home === i || this.find(tenant, name)?.cell.value.uid === uid) continue;
        const caller: Caller = { identity: 'system', tenant, deadlineMs: 0 };
        const remove = async () => {
          if (this.find(tenant, name)?.cell.value.uid === uid) return;
          await shard
            .call({ view: VIEW, kind: 'delete', caller, stream: name, uid } as never)
            .catch(ignoreMissing);
        };
        await this.#changes.run(tenant, name, remove);
      }
    }
  }

  /**
   * What goes to several shards is checked as a whole before any of it goes. Each shard checks again, when it
   * decides.
   */
  checkValues(stream: StreamCell, commands: readonly Publish[]): void {
    const { name, schemaRef } = stream.cell.value;
    const view = this.views[this.placement(name).home];
    if (schemaRef === null || view === undefined) return;
    const refused = commands.flatMap((command) => {
      const head = readHead(command.batch);
      return inRequest(command, view.schemas.check(stream.tenant, schemaRef, command.batch, head).refused);
    });
    if (refused.length > 0)
      throw violationOf(
        'record',
        refused.sort((a, b) => a.index - b.index),
      );
  }

  /** The cell of a partition, whatever its shard. */
  partition(stream: StreamCell, partition: number): PartitionCell {
    const { name, partitions } = stream.cell.value;
    const shard = shardOfPartition(this.placement(name), partition, this.shards.length);
    const cell = this.views[shard]?.find(stream.tenant, name)?.partitions.get(partition);
    // Another shard may know of a partition that home does not have yet (L1).
    if (partition >= partitions || cell === undefined) throw partitionNotFound(stream, partition);
    return cell;
  }

  *partitions(stream: StreamCell): IterableIterator<PartitionCell> {
    for (let p = 0; p < stream.cell.value.partitions; p++) yield this.partition(stream, p);
  }

  /** Everything decided so far about the stream is durable. */
  async settled(stream: StreamCell): Promise<void> {
    const { name, partitions } = stream.cell.value;
    await Promise.all(this.#shardsOf(name, partitions).map((shard) => shard.settled()));
  }

  /** Groups what concerns partitions by the shard of each. */
  byShard<T extends { readonly partition: number }>(name: string, items: readonly T[]): Map<ShardPort, T[]> {
    const byShard = new Map<ShardPort, T[]>();
    for (const item of items) {
      const shard = this.shardOf(name, item.partition);
      const own = byShard.get(shard);
      if (own === undefined) byShard.set(shard, [item]);
      else own.push(item);
    }
    return byShard;
  }

  #shardsOf(name: string, partitions: number): ShardPort[] {
    const shards = new Set([this.home(name)]);
    for (let p = 0; p < Math.min(partitions, this.shards.length); p++) shards.add(this.shardOf(name, p));
    return [...shards];
  }
}

/** A stream that is not compacted has no times of compaction, whatever was asked. */
function cleanupOf({ cleanup, minCompactionLagMs, tombstoneRetentionMs }: Spec) {
  const chosen = CLEANUPS.find((each) => each === (cleanup || STREAM_DEFAULTS.cleanup));
  if (chosen === undefined) {
    throw new FlowError('INVALID_ARGUMENT', `cleanup is ${CLEANUPS.join(', ')}, not ${cleanup}`);
  }
  if (chosen === 'delete') return NO_COMPACTION;
  const retentionMs = tombstoneRetentionMs || STREAM_DEFAULTS.tombstoneRetentionMs;
  return { cleanup: chosen, minCompactionLagMs, tombstoneRetentionMs: retentionMs };
}

/** Names are at most 255 bytes, without control characters. */
export function checkName(what: string, name: string): void {
  const size = Buffer.byteLength(name);
  if (size === 0 || size > LIMITS.nameBytes) {
    throw new FlowError(
      'INVALID_ARGUMENT',
      `${what} name of ${size} bytes; 1 to ${LIMITS.nameBytes} are accepted`,
    );
  }
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code < 32 || code === 127) {
      throw new FlowError('INVALID_ARGUMENT', `${what} name with a control character at ${i}`);
    }
  }
}

const idOf = (tenant: number, name: string) => `${tenant} ${name}`;

function ignoreMissing(error: unknown): void {
  if (!(error instanceof FlowError && error.code === 'STREAM_NOT_FOUND')) throw error;
}
