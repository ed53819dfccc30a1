// (producerId, seq) of unary mutations.
//   U1. No sequence that may still be repeated falls WINDOW behind the newest of its producer id, because
//       the server remembers the replies of 1,024 (docs/architecture.md). Where one call hangs that long
//       while others go through, the others go on under a new id; nobody waits.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Cause } from './origin.ts';

const WINDOW = 1000;

export class MutationIds {
  readonly #prefix: string;
  #generation = 0;
  #seq = 0;
  /** Sequences of this generation that may be sent again, oldest first. */
  #unsettled = new Set<number>();

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get #producerId(): string {
    return this.#generation === 0 ? this.#prefix : `${this.#prefix}${this.#generation}`;
  }

  next(cause: Cause | undefined): pb.MutationInput {
    const [oldest] = this.#unsettled;
    if (oldest !== undefined && this.#seq + 1 - oldest >= WINDOW) {
      this.#generation++;
      this.#seq = 0;
      this.#unsettled.clear();
    }
    this.#unsettled.add(++this.#seq);
    return { producerId: this.#producerId, seq: this.#seq, cause };
  }

  /** It will not be sent again. */
  settled({ producerId, seq }: pb.MutationInput): void {
    if (producerId === this.#producerId) this.#unsettled.delete(seq as number);
  }
}
