// What one operation of a command may see and do. One instance per view, set anew for each command: no
// allocation.
//   D1. An expired key is absent, whether or not the sweeper has been there; what it left is accounted for by
//       the event that writes over it. Its absence shows time, which must be durable when the answer leaves.
//   D2. An operation refuses before it emits, and emits at most one event.
//   D3. A command writes and returns at most COMMAND_BYTES_MAX, so that events and reply fit one journal
//       entry.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Moment, StepEmit, ViewContext } from '../shard/state-machine.ts';
import type { Table } from '../storage/contract.ts';
import { DELETED, type KeyGone, type KeyPut } from './events.ts';
import type { KvState } from './state.ts';
import { type Kind, META, type Meta, memberPrefix, memberTable, TYPE_NAMES } from './tables.ts';

export const COMMAND_BYTES_MAX = LIMITS.batchBytes;
/** Head of an event or a result, rounded up. */
const OPERATION_BYTES = 96;

const noEmit: StepEmit = () => {};

export class Turn {
  nowMs = 0;
  /** Which operation of the request is decided. */
  step = 0;
  readonly #context: Pick<ViewContext, 'rows' | 'showsTime'>;
  readonly #state: KvState;
  #emit: StepEmit = noEmit;
  #isAtomic = false;
  #bytesLeft = 0;
  /** The row behind the last `look`, expired or not. */
  #before: Meta | undefined;

  constructor(context: Pick<ViewContext, 'rows' | 'showsTime'>, state: KvState) {
    this.#context = context;
    this.#state = state;
  }

  begin(at: Moment, emit: StepEmit, isAtomic: boolean): void {
    this.nowMs = at.nowMs;
    this.#emit = emit;
    this.#isAtomic = isAtomic;
    this.#bytesLeft = COMMAND_BYTES_MAX;
  }

  get isAtomic(): boolean {
    return this.#isAtomic;
  }

  /** The key as everybody sees it now. `table`: META, or META_TERMS where its value does not matter. */
  look(key: string, table = META): Meta | undefined {
    const row = this.#context.rows.get(table, key);
    this.#before = row;
    if (row === undefined || row.expireAtMs === 0 || row.expireAtMs > this.nowMs) return row;
    this.#context.showsTime(row.expireAtMs);
    return undefined;
  }

  lookFor(key: string, kind: Kind): Meta | undefined {
    const meta = this.look(key);
    if (meta !== undefined && meta.kind !== kind) {
      throw new FlowError(
        'WRONG_TYPE',
        `the key holds a ${TYPE_NAMES[meta.kind]}, not a ${TYPE_NAMES[kind]}`,
      );
    }
    return meta;
  }

  /** What the keys of a collection's member rows start with. */
  members(key: string, meta: Meta): string {
    return memberPrefix(key, memberTable(meta.kind), meta.generation);
  }

  member<V>(table: Table<V>, meta: Meta, rowKey: string): V | undefined {
    // The collection may have begun behind `reads`, in this very command: then nobody fetched the row, and if
    // it is not in memory it does not exist (KvState.isFresh).
    const { rows } = this.#context;
    const isFetched = !this.#state.isFresh(meta.generation) || rows.isResident({ table, key: rowKey });
    return isFetched ? rows.get(table, rowKey) : undefined;
  }

  nextRevision(): number {
    return this.#state.revision + 1;
  }

  spend(bytes: number): void {
    this.#bytesLeft -= bytes + OPERATION_BYTES;
    if (this.#bytesLeft >= 0) return;
    this.#bytesLeft += bytes;
    throw new FlowError(
      'BATCH_TOO_LARGE',
      `the operations together pass ${COMMAND_BYTES_MAX} bytes; split the request`,
    );
  }

  /** The event that writes `meta` over the row last looked at. */
  over(type: number, key: string, meta: Meta): KeyPut {
    const before = this.#before;
    const isStale = before !== undefined && before.generation !== 0 && before.generation !== meta.generation;
    return {
      type,
      key,
      isNew: before === undefined,
      beforeExpireAtMs: before === undefined ? 0 : before.expireAtMs,
      staleGeneration: isStale ? before.generation : 0,
      staleKind: isStale ? before.kind : 0,
      meta,
    };
  }

  emit(event: KeyPut): void {
    this.#emit(event, this.step);
  }

  /** Deletes the key last looked at. */
  emitDeleted(key: string, { expireAtMs, generation, kind }: Meta): void {
    this.#emit({ type: DELETED, key, expireAtMs, generation, kind } as KeyGone, this.step);
  }

  /** A condition does not hold: an answer on its own, a refusal in a transaction. */
  unmet(present: Meta | undefined): pb.KvResultInput {
    const revision = present?.revision ?? 0;
    if (!this.#isAtomic) return { found: false, revision };
    throw new FlowError(
      'REVISION_MISMATCH',
      `the key is at revision ${revision}; the condition does not hold`,
    );
  }
}
