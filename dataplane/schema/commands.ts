// What the schema view is asked, and what it answers.
import type { Change } from '../admin/changes.ts';
import type { Claim, Claimed, Owner } from '../admin/ownership.ts';
import type { Command } from '../shard/state-machine.ts';
import type { SchemaTerms } from './tables.ts';

export const VIEW = 'schema';

interface Base<K extends string> extends Command {
  readonly view: typeof VIEW;
  readonly kind: K;
  readonly name: string;
}

/** To home, which decides. */
export interface Declare extends Base<'declare'> {
  /** Of the schema if it is new. */
  readonly uid: number;
  readonly createdAtMs: number;
  readonly terms: SchemaTerms;
  /** In whose name. */
  readonly claim?: Claim | undefined;
}

/** To the others: what home has. */
export interface Copy extends Base<'copy'> {
  readonly uid: number;
  readonly createdAtMs: number;
  readonly terms: SchemaTerms;
}

/** At home only once nobody refers to it on any shard. */
export interface Delete extends Base<'delete'> {
  /** Only if this is its owner. */
  readonly owner?: Owner | undefined;
}

/** To the others, once home does not have it any more. */
export interface Drop extends Base<'drop'> {}

export interface Disown extends Base<'disown'> {
  /** Only if this is its owner; absent: whoever it is. */
  readonly owner?: Owner | undefined;
}

export type SchemaCommand = Declare | Copy | Delete | Drop | Disown;

/** Of Declare. With an owner, what the declaration came to. */
export interface DeclareReply {
  readonly result?: Claimed['result'];
  readonly changes?: readonly Change[];
  readonly drifted?: boolean;
}

/** Of Disown. */
export interface DisownReply {
  readonly released: boolean;
}
