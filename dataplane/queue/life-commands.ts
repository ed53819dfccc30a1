// Commands of a job's life beyond commands.ts; decided in life-decide.ts.
import type { Command } from '../shard/state-machine.ts';

interface Base extends Command {
  readonly view: 'queue';
  readonly name: string;
}

export interface RedriveStartCommand extends Base {
  readonly kind: 'redrive-start';
  readonly target: string;
  /** 0: all that are there now. */
  readonly max: number;
  /** 0: as fast as it goes. */
  readonly perSecond: number;
  /** Jobs that came back this often are parked. */
  readonly parkAfter: number;
}

/** What a step of a task did; part of the step's own entry. */
export interface RedriveNoteCommand extends Base {
  readonly kind: 'redrive-note';
  readonly no: number;
  readonly moved: number;
  readonly parked: number;
  readonly end: 'done' | 'failed' | null;
  readonly error: string;
}

export interface RedriveCancelCommand extends Base {
  readonly kind: 'redrive-cancel';
}

/** Leases exactly these waiting jobs, which were looked at, to a redrive task. */
export interface TakeCommand extends Base {
  readonly kind: 'take';
  readonly no: number;
  readonly fromCursor: number;
  readonly toCursor: number;
  readonly plain: readonly number[];
  readonly ready: readonly number[];
}

/** Progress and log lines of a job that is held. */
export interface ReportCommand extends Base {
  readonly kind: 'report';
  readonly offset: number;
  readonly epoch: number;
  /** JSON; empty: as before. */
  readonly progress: string;
  readonly lines: readonly string[];
}

export interface CancelCommand extends Base {
  readonly kind: 'cancel';
  readonly offset: number;
  /** As the log has them. */
  readonly key: string;
  readonly isIndexed: boolean;
  readonly reason: string;
}

export interface DrainCommand extends Base {
  readonly kind: 'drain';
  readonly draining: boolean;
}

export type LifeCommand =
  | CancelCommand
  | DrainCommand
  | ReportCommand
  | RedriveStartCommand
  | RedriveNoteCommand
  | RedriveCancelCommand
  | TakeCommand;
