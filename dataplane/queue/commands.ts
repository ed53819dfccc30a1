// What the queue view can be asked, and what it answers. Jobs are named by offset: the service parses ids.
import type { BatchHead } from '@flowmesh/protocol';
import type { Claim, Owner } from '../admin/ownership.ts';
import type { Refusal } from '../schema/check.ts';
import type { Command } from '../shard/state-machine.ts';
import type { Run } from './events.ts';
import type { FailurePolicy } from './flow-tables.ts';
import type { LifeCommand } from './life-commands.ts';
import type { ResolvedSpec } from './tables.ts';

interface Base extends Command {
  readonly view: 'queue';
  readonly name: string;
}

export interface DeclareCommand extends Base {
  readonly kind: 'declare';
  readonly spec: ResolvedSpec;
  /** Only create: a queue that is there stays as it is. */
  readonly ifAbsent: boolean;
  /** In whose name. */
  readonly claim?: Claim | undefined;
}

export interface DeleteCommand extends Base {
  readonly kind: 'delete';
  readonly ifEmpty: boolean;
  /** Only if this is its owner. */
  readonly owner?: Owner | undefined;
}

export interface ReleaseCommand extends Base {
  readonly kind: 'release';
  /** Only if this is its owner; absent: whoever it is. */
  readonly owner?: Owner | undefined;
}

export interface EnqueueCommand extends Base {
  readonly kind: 'enqueue';
  /** Validated; the view owns it from now on. */
  readonly batch: Buffer;
  readonly head: BatchHead;
  /** Jobs that come back to the queue in which they died: they were checked when they came first. */
  readonly isReturn?: boolean;
  /** Jobs that do not match do not keep the others back. */
  readonly isPartial?: boolean;
}

/** A tree of jobs. Several nodes of one queue share a batch. */
export interface FlowCommand extends Base {
  readonly kind: 'flow';
  /** The root is the first entry of the first. `nodes`: which entry is which. */
  readonly parts: readonly {
    readonly name: string;
    readonly batch: Buffer;
    readonly nodes: readonly number[];
  }[];
  readonly nodes: readonly {
    /** -1: the root. Others come after their parent. */
    readonly parent: number;
    /** Among its siblings. */
    readonly no: number;
    readonly name: string;
    readonly onFailure: FailurePolicy;
    readonly delayMs: number;
  }[];
}

export interface FlowReply {
  /** Of all nodes; deduplicated: of the root's predecessor. */
  readonly ids: readonly string[];
  readonly deduplicated: boolean;
}

export interface NackTerms {
  readonly error: string;
  readonly retryAfterMs: number | null;
  readonly unrecoverable: boolean;
  readonly release: boolean;
}

export interface SettleCommand extends Base {
  readonly kind: 'settle';
  readonly acks: readonly Run[];
  readonly nacks: readonly (NackTerms & { readonly offset: number; readonly epoch: number })[];
  readonly extends: readonly {
    readonly offset: number;
    readonly epoch: number;
    readonly visibilityMs: number;
  }[];
  /** Of jobs that are acked; those whose lease is lost have none. */
  readonly results?: readonly {
    readonly offset: number;
    readonly epoch: number;
    readonly contentType: string;
    readonly value: Buffer;
  }[];
  /** A transaction: a lost lease refuses the whole. */
  readonly strict: boolean;
}

export interface RenewCommand extends Base {
  readonly kind: 'renew';
  readonly sessionId: string;
  readonly worker: string;
  readonly visibilityMs: number;
  readonly build: string;
  readonly concurrency: number;
  /**
   * A worker that (re)connects: leases of its session that it does not know are released. Null: only a
   * renewal.
   */
  readonly held: readonly Run[] | null;
}

export interface EndSessionCommand extends Base {
  readonly kind: 'end-session';
  readonly sessionId: string;
}

export interface PurgeCommand extends Base {
  readonly kind: 'purge';
}

export interface PauseCommand extends Base {
  readonly kind: 'pause';
  readonly paused: boolean;
}

/**
 * Takes waiting jobs out (redrive): a prefix of what the cursor would give, and entries of the ready index.
 */
export interface RemoveCommand extends Base {
  readonly kind: 'remove';
  /** Where the cursor must stand for this to be what was looked at. */
  readonly fromCursor: number;
  readonly toCursor: number;
  readonly plain: number;
  readonly ready: readonly number[];
}

export type QueueCommand =
  | DeclareCommand
  | DeleteCommand
  | ReleaseCommand
  | EnqueueCommand
  | FlowCommand
  | SettleCommand
  | RenewCommand
  | EndSessionCommand
  | PurgeCommand
  | PauseCommand
  | RemoveCommand
  | LifeCommand;

export interface EnqueuedOffset {
  readonly offset: number;
  readonly deduplicated: boolean;
  /** The job whose place it took. */
  readonly replaced?: number;
}

export interface EnqueueReply {
  readonly idPrefix: string;
  readonly firstOffset: number;
  readonly count: number;
  /** Offset of each job, only when some were deduplicated: those carry the offset of the earlier job. */
  readonly offsets?: readonly EnqueuedOffset[];
  /** Jobs that were not enqueued: `offsets` and `count` are of the others. By index. */
  readonly refused?: readonly Refusal[];
}

export interface SettleReply {
  readonly lost: readonly number[];
  readonly nowMs: number;
}
