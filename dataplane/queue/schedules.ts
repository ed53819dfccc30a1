// Enqueues the jobs of schedules. Owns when the next tick of each comes; what is remembered is in the cells.
//   S1. Ticks are computed from the schedule, never from when a job ran: a busy queue skips none by itself.
//   S2. Ticks are wall time; a tick that was looked at never comes again, whatever the clock does.
import { patchHead } from '@flowmesh/protocol';
import type { Schemas } from '../schema/check.ts';
import type { Moment, ViewContext } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import { nextTickMs } from './cron.ts';
import { checkedTick } from './payload-checks.ts';
import { TICKED, type Ticked } from './schedule-events.ts';
import { type Schedule, type ScheduleState, scheduledJob } from './schedule-spec.ts';
import { JOB } from './tables.ts';
import type { EmitThen } from './upkeep.ts';

/** How late a jump of the wall clock may be noticed. */
const LOOK_MS = 10_000;
/** A time that is not known before something has been read. */
const LATER = Number.POSITIVE_INFINITY;

export class Schedules {
  readonly #context: ViewContext;
  readonly #schemas: Schemas;
  readonly #cells = new Set<QueueCell>();
  readonly #next = new WeakMap<Schedule, { afterMs: number; nextMs: number }>();
  /** Shard time. */
  #dueMs = LATER;

  constructor(context: ViewContext, schemas: Schemas) {
    this.#context = context;
    this.#schemas = schemas;
  }

  /** A queue may have schedules now, or a job that a tick waits for has finished. */
  note(cell: QueueCell, isDeclaration: boolean): void {
    if (cell.schedules.size === 0) this.#cells.delete(cell);
    else if (isDeclaration || !this.#cells.has(cell)) {
      this.#cells.add(cell);
      this.#dueMs = 0;
    } else if (this.#dueMs > 0 && isWaitedFor(cell)) this.#dueMs = 0;
  }

  forget(cell: QueueCell): void {
    this.#cells.delete(cell);
  }

  wakeAtMs(): number {
    return this.#cells.size === 0 ? LATER : this.#dueMs;
  }

  /** The tick after the last one; Infinity: there is none. */
  nextMs(schedule: Schedule, { lastMs }: ScheduleState): number {
    const known = this.#next.get(schedule);
    if (known !== undefined && known.afterMs <= lastMs && lastMs < known.nextMs) return known.nextMs;
    const nextMs = tickOrNever(schedule, lastMs);
    this.#next.set(schedule, { afterMs: lastMs, nextMs });
    return nextMs;
  }

  run(at: Moment, emit: EmitThen, hasRoom: () => boolean): void {
    if (this.#cells.size === 0 || at.nowMs < this.#dueMs) return;
    const wallMs = this.#context.wallMs();
    let nextMs = wallMs + LOOK_MS;
    for (const cell of this.#cells) {
      for (const schedule of cell.spec.schedules ?? []) {
        if (!hasRoom()) nextMs = wallMs;
        else nextMs = Math.min(nextMs, this.#run(cell, schedule, wallMs, at, emit, hasRoom));
      }
    }
    this.#dueMs = at.nowMs + nextMs - wallMs;
  }

  /** Makes what is due; returns when to look again, wall time. */
  #run(
    cell: QueueCell,
    schedule: Schedule,
    wallMs: number,
    at: Moment,
    emit: EmitThen,
    hasRoom: () => boolean,
  ): number {
    for (;;) {
      const state = cell.schedules.get(schedule.name);
      if (state === undefined) return LATER;
      if (!hasRoom()) return wallMs;
      const sinceMs = Math.max(state.lastMs, wallMs - schedule.catchUpMs - 1);
      const nextMs = this.nextMs(schedule, { ...state, lastMs: sinceMs });
      const isDue = nextMs <= wallMs;
      if (!isDue && state.bufferedMs === 0) return nextMs;
      const isBusy = schedule.overlap === 'allow' ? false : this.#isUnfinished(cell, state);
      if (isBusy === undefined) return wallMs + LOOK_MS;
      const { lastMs, bufferedMs } = state;
      if (!isBusy && bufferedMs > 0) emit(this.#ticked(cell, schedule, { lastMs, firedMs: bufferedMs }, at));
      else if (!isDue) return nextMs;
      else if (!isBusy) emit(this.#ticked(cell, schedule, { lastMs: nextMs, firedMs: nextMs }, at));
      else if (schedule.overlap === 'buffer_one' && bufferedMs === 0)
        emit(this.#ticked(cell, schedule, { lastMs: nextMs, bufferedMs: nextMs }, at));
      else emit(this.#ticked(cell, schedule, { lastMs: nextMs, bufferedMs, skipped: 1 }, at));
    }
  }

  #ticked(
    cell: QueueCell,
    schedule: Schedule,
    what: { lastMs: number; firedMs?: number; bufferedMs?: number; skipped?: number },
    at: Moment,
  ): Ticked {
    const { name } = schedule;
    const { lastMs, firedMs = 0, bufferedMs = 0, skipped = 0 } = what;
    const tick = { type: TICKED, queueNo: cell.queueNo, name, lastMs, bufferedMs } as const;
    if (firedMs === 0) return { ...tick, firedMs, skipped, batch: Buffer.alloc(0) };
    const batch = checkedTick(this.#schemas, cell, scheduledJob(schedule, firedMs));
    if (batch === undefined) return { ...tick, firedMs: 0, skipped: skipped + 1, batch: Buffer.alloc(0) };
    patchHead(batch, cell.log.endOffset, at.nowMs);
    return { ...tick, firedMs, skipped, batch };
  }

  /** Whether the last job is not finished; undefined: its row is being read, and a tick follows. */
  #isUnfinished(cell: QueueCell, { offset }: ScheduleState): boolean | undefined {
    if (offset < 0) return false;
    if (cell.leases.has(offset) || offset >= cell.state.cursor) return true;
    const { rows, wake } = this.#context;
    const ref = { table: JOB, key: cell.keys.jobKey(offset) };
    if (rows.isResident(ref)) return rows.get(JOB, ref.key) !== undefined;
    // A damaged row is tried again later.
    rows.fetch([ref]).then(
      () => {
        this.#dueMs = 0;
        wake();
      },
      () => undefined,
    );
    return undefined;
  }
}

/** It was checked when it was declared, but the time zones of this machine may be others than then. */
function tickOrNever({ cron, timeZone }: Schedule, afterMs: number): number {
  try {
    return nextTickMs(cron, timeZone, afterMs);
  } catch {
    return LATER;
  }
}

/** The end of a job that a tick waits for. */
function isWaitedFor(cell: QueueCell): boolean {
  for (const { bufferedMs } of cell.schedules.values()) if (bufferedMs > 0) return true;
  return false;
}
