// Commands that wait for rows, or for room in a batch, in arrival order. Bounded: beyond it callers are
// refused.
import type { FlowError } from '@flowmesh/protocol';
import type { Done } from './batch.ts';
import type { Command, MutationId } from './state-machine.ts';

export interface Pending {
  readonly commands: readonly Command[];
  readonly mutation: MutationId | undefined;
  /** Whose effect it is. */
  readonly cause: MutationId['cause'];
  /** One command answers its reply, a transaction the list of replies. */
  readonly isTransaction: boolean;
  readonly done: Done;
}

export function pendingOf(
  commands: readonly Command[],
  mutation: MutationId | undefined,
  isTransaction: boolean,
  done: Done,
): Pending {
  // A mutation without a producer is not idempotent.
  const identified = mutation?.producerId ? mutation : undefined;
  return { commands, mutation: identified, cause: mutation?.cause, isTransaction, done };
}

const INBOX_MAX = 100_000;
/** What is taken from the front is cut off in pieces of this many. */
const CUT = 4096;

export class Inbox {
  #items: Pending[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  get isFull(): boolean {
    return this.size >= INBOX_MAX;
  }

  push(pending: Pending): void {
    this.#items.push(pending);
  }

  first(): Pending | undefined {
    return this.#items[this.#head];
  }

  shift(): Pending | undefined {
    const pending = this.#items[this.#head++];
    if (this.#head >= this.#items.length) this.#cut(this.#items.length);
    else if (this.#head >= CUT) this.#cut(this.#head);
    return pending;
  }

  /** Those that wait, in order, without taking them. */
  *waiting(): IterableIterator<Pending> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i] as Pending;
  }

  refuseAll(error: FlowError): void {
    const refused = this.#items.slice(this.#head);
    this.#cut(this.#items.length);
    for (const pending of refused) pending.done(error, undefined);
  }

  #cut(count: number): void {
    this.#items = this.#items.slice(count);
    this.#head = 0;
  }
}
