// The kv view of one shard: keys with their types, expiries and revisions. What a command means is in
// strings.ts, hashes.ts, sets.ts and sorted-sets.ts; what an event does in state.ts; what happens by itself
// in sweeper.ts.
//   K1. Operations of a command are decided in order, each on its own: a failing one answers with its error
//       and emits nothing. In a transaction the first failure refuses all.
//   K2. What a read shows comes from rows alone, so it waits for no batch but the one that wrote them.
import { FlowError } from '@flowmesh/protocol';
import { KvResponse, type KvResultInput } from '@flowmesh/protocol/gen/flowmesh.js';
import type {
  Caller,
  Command,
  Emit,
  Event,
  Moment,
  StepEmit,
  View,
  ViewContext,
} from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { RowRef, Rows } from '../storage/contract.ts';
import { errorResult, type KvCommand } from './command.ts';
import { decodeEvent, encodeEvent, KEYSPACE_DECLARED, type KeyspaceDeclared } from './events.ts';
import { DECLARATIONS_MAX, type KeyspaceCount, KvState } from './state.ts';
import { Sweeper } from './sweeper.ts';
import { META, memberPrefix, memberTable } from './tables.ts';
import { Turn } from './turn.ts';

export class KvView implements View {
  readonly name = 'kv';
  readonly events = [16, 63] as const;
  readonly readsOnlyRows = true;
  readonly #rows: Rows;
  readonly #state: KvState;
  readonly #sweeper: Sweeper;
  readonly #turn: Turn;

  constructor(context: ViewContext) {
    const sweeper = new Sweeper(context);
    this.#rows = context.rows;
    this.#sweeper = sweeper;
    this.#state = new KvState(context.rows, (tenant) => sweeper.serve(tenant));
    this.#turn = new Turn(context, this.#state);
  }

  load(): Promise<void> {
    return this.#state.load();
  }

  reads(command: Command): readonly RowRef[] {
    const { plans, namesMembers, peek } = command as KvCommand;
    if (peek !== undefined) return [{ table: META, key: peek }];
    if (!namesMembers) return plans;
    const refs: RowRef[] = [];
    for (const plan of plans) {
      refs.push(plan);
      if (plan.operation.reads === 0 || plan.names.length === 0) continue;
      // Undefined also if the row is not in memory yet: then this is asked again behind the fetch.
      const meta = this.#rows.isResident(plan) ? this.#rows.get(META, plan.key) : undefined;
      // Expired or not: time is not known here, and a row too many does no harm.
      if (meta === undefined || meta.kind !== plan.operation.reads) continue;
      const table = memberTable(meta.kind);
      const prefix = memberPrefix(plan.key, table, meta.generation);
      for (const name of plan.names) refs.push({ table, key: prefix + name });
    }
    return refs;
  }

  decide(command: Command, at: Moment, emit: StepEmit): unknown {
    const { plans, isAtomic, peek, alsoExpired, declare } = command as KvCommand;
    if (declare !== undefined) return this.#declare(command.caller, declare, emit);
    if (peek !== undefined && alsoExpired) return this.#rows.get(META, peek);
    this.#turn.begin(at, emit, isAtomic);
    if (peek !== undefined) return this.#turn.look(peek);
    const results = new Array<KvResultInput>(plans.length);
    for (let i = 0; i < plans.length; i++) {
      const plan = plans[i] as (typeof plans)[number];
      this.#turn.step = plan.index;
      try {
        results[i] = plan.operation.decide(this.#turn, plan);
      } catch (error) {
        if (isAtomic) throw error;
        results[i] = errorResult(error);
      }
    }
    return results;
  }

  #declare({ tenant }: Caller, declare: NonNullable<KvCommand['declare']>, emit: Emit): KvResultInput[] {
    const { name, isCache, maxBytes, eviction } = declare;
    const before = this.#state.declarationOf(tenant, name);
    if ((before?.isCache ?? isCache) !== isCache)
      throw new FlowError(
        'IMMUTABLE',
        `keyspace ${name} is ${isCache ? 'durable' : 'a cache'}, and stays so`,
      );
    if (before?.maxBytes === maxBytes && before.eviction === eviction) return [];
    if (before === undefined && this.#state.declarations().length >= DECLARATIONS_MAX)
      throw new FlowError('RESOURCE_EXHAUSTED', `${DECLARATIONS_MAX} keyspaces are declared`);
    emit({ type: KEYSPACE_DECLARED, tenant, name, isCache, maxBytes, eviction } as KeyspaceDeclared);
    return [];
  }

  declarations() {
    return this.#state.declarations();
  }

  encodeReply(reply: unknown): Uint8Array {
    return KvResponse.encode({ results: reply as KvResultInput[] }).finish();
  }

  decodeReply(bytes: Uint8Array): unknown {
    return KvResponse.decode(bytes).results;
  }

  evolve(event: Event): void {
    this.#state.evolve(event);
  }

  encode(event: Event, into: ByteWriter): void {
    encodeEvent(event, into);
  }

  decode(type: number, from: ByteReader): Event {
    return decodeEvent(type, from);
  }

  tick(at: Moment, emit: (event: Event) => void): void {
    this.#sweeper.tick(at, emit);
  }

  wakeAtMs(): number {
    return this.#sweeper.wakeAtMs();
  }

  flush(): void {
    this.#state.flush();
  }

  /** Keyspaces that have keys, with their number. */
  keyspaces(tenant: number): KeyspaceCount[] {
    return this.#state.keyspaces(tenant);
  }
}

/** A ViewFactory. */
export const createKvView = (context: ViewContext): KvView => new KvView(context);
