// What the views offer to who looks at declarations as such: the change feed.
import type { Ownership } from './ownership.ts';

export type ChangeOf = 'declared' | 'changed' | 'deleted';

export type OnChange = (change: ChangeOf, tenant: number, name: string, position: number) => void;

/** Something that is declared, on its home shard. Positions are of the shard's journal; see OnChange. */
export interface Declared {
  readonly name: string;
  readonly ownership: Ownership | null;
  readonly bornAt: number;
  readonly changedAt: number;
}

/** The declared things of one kind on one shard. */
export interface DeclaredThings {
  readonly kind: string;
  all(tenant: number): Iterable<Declared>;
  find(tenant: number, name: string): Declared | undefined;
  /** Of the last deletion. */
  readonly deletedAt: number;
  /** Told of every change from now on when it is decided, durable or not. */
  follow(tell: OnChange): void;
}
