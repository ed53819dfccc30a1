// Schemas across shards: each has a home, which decides about it, and every other shard has a copy.
//   R1. Home is told first, then the others; who asked is answered when all know it. So a write that comes
//       after the answer is checked by what was declared, on whichever shard it is.
//   R2. A queue or stream refers only to what is there: a schema is deleted while no declaration that refers
//       to it is under way (`holding`), and none begins meanwhile.
//   R3. What a crash between two shards left is put right before anybody is served (`reconcile`).
import { FlowError, shardOf } from '@flowmesh/protocol';
import { OneAtATime } from '../admin/one-at-a-time.ts';
import type { Claim, Owner } from '../admin/ownership.ts';
import type { Caller, MutationId, ShardPort } from '../shard/state-machine.ts';
import { type SchemaRef, unknownSchema } from './check.ts';
import type { Checkers } from './checkers.ts';
import { type DeclareReply, type DisownReply, type SchemaCommand, VIEW } from './commands.ts';
import { schemaNotFound, termsOf } from './declare.ts';
import type { SchemaRow, SchemaTerms } from './tables.ts';
import type { SchemaView } from './view.ts';

/** A queue or stream that refers to a schema. */
export interface Referrer {
  /** `queue emails` */
  readonly what: string;
  readonly schema: string;
}

export interface RegistryParts {
  readonly shards: readonly ShardPort[];
  readonly views: readonly SchemaView[];
  readonly checkers: Checkers;
  readonly random: () => number;
  /** As evolved, so maybe not durable. */
  readonly referrers: (tenant: number) => Iterable<Referrer>;
}

/** Users of a schema that a refusal names. */
const USERS_TOLD = 5;

/** What a declaration needs that may refer to a schema. */
export type SchemaHolder = Pick<SchemaRegistry, 'holding'>;

export class SchemaRegistry {
  readonly #p: RegistryParts;
  readonly #changes = new OneAtATime();
  /** Declarations under way, by what they refer to. */
  readonly #held = new Map<string, Set<Promise<unknown>>>();

  constructor(parts: RegistryParts) {
    this.#p = parts;
  }

  find(tenant: number, name: string): SchemaRow | undefined {
    return this.#p.views[this.#homeOf(name)]?.state.find(tenant, name);
  }

  /** All of a tenant, each once. */
  all(tenant: number): SchemaRow[] {
    return this.#p.views.flatMap((view, i) =>
      [...view.state.all(tenant)].filter(({ name }) => this.#homeOf(name) === i),
    );
  }

  /** How many refer to each. */
  users(tenant: number): Map<string, number> {
    const users = new Map<string, number>();
    for (const { schema } of this.#p.referrers(tenant)) users.set(schema, (users.get(schema) ?? 0) + 1);
    return users;
  }

  async settled(): Promise<void> {
    await Promise.all(this.#p.shards.map((shard) => shard.settled()));
  }

  declare(
    caller: Caller,
    name: string,
    terms: SchemaTerms,
    options: { claim?: Claim | undefined; mutation?: MutationId | undefined },
  ): Promise<DeclareReply> {
    return this.#changes.run(caller.tenant, name, async () => {
      const known = this.find(caller.tenant, name);
      for (const version of terms.versions) {
        // Those that are there were judged when they came.
        const isThere = known?.versions.some((each) => JSON.stringify(each) === JSON.stringify(version));
        if (!isThere) this.#p.checkers.judge(name, version);
      }
      const home = this.#home(name);
      const createdAtMs = home.nowMs();
      const uid = createdAtMs * 1000 + Math.floor(this.#p.random() * 1000);
      const reply = await home.call<DeclareReply>({
        ...{ view: VIEW, kind: 'declare', caller, name, terms, uid, createdAtMs, grows: true },
        ...options,
      } as SchemaCommand);
      await this.#copy(caller, name);
      return reply;
    });
  }

  delete(
    caller: Caller,
    name: string,
    options: { owner?: Owner | undefined; mutation?: MutationId | undefined },
  ): Promise<void> {
    return this.#changes.run(caller.tenant, name, async () => {
      await Promise.allSettled(this.#held.get(`${caller.tenant} ${name}`) ?? []);
      // A reference that was given up is given up for good before its schema goes.
      await this.settled();
      const users = [...this.#p.referrers(caller.tenant)].filter(({ schema }) => schema === name);
      if (users.length > 0) throw inUse(name, users);
      const command = { view: VIEW, kind: 'delete', caller, name, ...options };
      await this.#home(name).call(command as SchemaCommand);
      await this.#copy(caller, name);
    });
  }

  async release(
    caller: Caller,
    name: string,
    options: { owner?: Owner | undefined; mutation?: MutationId | undefined },
  ): Promise<boolean> {
    const command = { view: VIEW, kind: 'disown', caller, name, ...options } as SchemaCommand;
    const { released } = await this.#changes.run(caller.tenant, name, () =>
      this.#home(name).call<DisownReply>(command),
    );
    return released;
  }

  /** Runs a declaration that refers to a schema; SCHEMA_UNKNOWN if that is not there (R2). */
  async holding<R>(tenant: number, ref: SchemaRef | undefined, run: () => Promise<R>): Promise<R> {
    if (ref === undefined) return run();
    for (let change = this.#changes.pending(tenant, ref.name); change !== undefined; ) {
      await change.catch(() => {});
      change = this.#changes.pending(tenant, ref.name);
    }
    const schema = this.find(tenant, ref.name);
    const isThere = ref.version === 0 || schema?.versions.some(({ version }) => version === ref.version);
    if (schema === undefined || !isThere) throw unknownSchema(ref);
    const id = `${tenant} ${ref.name}`;
    const held = this.#held.get(id) ?? new Set();
    this.#held.set(id, held);
    const running = run();
    held.add(running);
    try {
      return await running;
    } finally {
      held.delete(running);
      if (held.size === 0 && this.#held.get(id) === held) this.#held.delete(id);
    }
  }

  /** R3 */
  async reconcile(): Promise<void> {
    const names = new Set<string>();
    for (const { state } of this.#p.views)
      for (const [tenant, schemas] of state.tenants)
        for (const name of schemas.keys()) names.add(`${tenant} ${name}`);
    for (const id of names) {
      const at = id.indexOf(' ');
      const caller: Caller = { identity: 'system', tenant: Number(id.slice(0, at)), deadlineMs: 0 };
      await this.#copy(caller, id.slice(at + 1));
    }
  }

  /** The others get what home has. */
  async #copy(caller: Caller, name: string): Promise<void> {
    const row = this.find(caller.tenant, name);
    const command =
      row === undefined
        ? { kind: 'drop' }
        : { kind: 'copy', uid: row.uid, createdAtMs: row.createdAtMs, terms: termsOf(row) };
    const home = this.#home(name);
    const others = this.#p.shards.filter((shard) => shard !== home);
    await Promise.all(
      others.map((shard) => shard.call({ view: VIEW, caller, name, ...command } as SchemaCommand)),
    );
  }

  #homeOf(name: string): number {
    return shardOf(name, this.#p.shards.length);
  }

  #home(name: string): ShardPort {
    return this.#p.shards[this.#homeOf(name)] as ShardPort;
  }

  need(tenant: number, name: string): SchemaRow {
    const row = this.find(tenant, name);
    if (row === undefined) throw schemaNotFound(name);
    return row;
  }
}

function inUse(name: string, users: readonly Referrer[]): FlowError {
  const told = users.slice(0, USERS_TOLD).map(({ what }) => what);
  const more = users.length > told.length ? ` and ${users.length - told.length} more` : '';
  return new FlowError('SCHEMA_IN_USE', `schema ${name} is what ${told.join(', ')}${more} must match`);
}
