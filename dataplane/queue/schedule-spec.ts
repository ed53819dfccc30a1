// Schedules as they are declared, and what is remembered of each.
import { encodeBatch, FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { checkCron } from './cron.ts';

export interface Schedule {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly payloadBase64: string;
  readonly contentType: string;
  /** What becomes of a tick while the job of an earlier one is not finished. */
  readonly overlap: 'skip' | 'buffer_one' | 'allow';
  /** Ticks that were missed (the server was down) are made up for if they are not older than this. */
  readonly catchUpMs: number;
}

export interface ScheduleState {
  readonly cron: string;
  readonly timeZone: string;
  /** The last tick that was looked at, or the declaration; wall time. */
  readonly lastMs: number;
  /** The last tick that made a job, and the job; 0 and -1: none. */
  readonly firedMs: number;
  readonly offset: number;
  /** A tick that waits for the job before it; 0: none. */
  readonly bufferedMs: number;
  readonly skippedTotal: number;
}

const SCHEDULES_MAX = 100;
const PAYLOAD_BYTES_MAX = 64 * 1024;
const PAYLOADS_BYTES_MAX = 256 * 1024;
const CATCH_UP_MS = 5 * 60_000;
const CATCH_UP_MS_MAX = 7 * 24 * 3_600_000;
const OVERLAPS = ['skip', 'buffer_one', 'allow'] as const;

export function resolveSchedules(schedules: readonly pb.Schedule[]): readonly Schedule[] {
  if (schedules.length > SCHEDULES_MAX)
    throw new FlowError(
      'INVALID_ARGUMENT',
      `${schedules.length} schedules, at most ${SCHEDULES_MAX} are kept`,
    );
  const names = new Set<string>();
  let bytes = 0;
  return schedules.map((schedule) => {
    const { name, cron, payload } = schedule;
    if (!/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name) || names.has(name)) {
      const what = `schedule ${JSON.stringify(name.slice(0, 63))}`;
      throw new FlowError('INVALID_ARGUMENT', `${what}: each has a name of its own, of a to z, 0 to 9 and -`);
    }
    names.add(name);
    bytes += payload.length;
    if (payload.length > PAYLOAD_BYTES_MAX || bytes > PAYLOADS_BYTES_MAX) {
      const most = `at most ${PAYLOAD_BYTES_MAX} bytes each and ${PAYLOADS_BYTES_MAX} in all`;
      throw new FlowError('VALUE_TOO_LARGE', `payload of schedule ${name}: ${most}`);
    }
    const timeZone = schedule.timeZone || 'UTC';
    checkCron(cron, timeZone);
    const overlap = OVERLAPS.find((each) => each === (schedule.overlap || 'skip'));
    if (overlap === undefined)
      throw new FlowError('INVALID_ARGUMENT', `overlap of schedule ${name} is ${OVERLAPS.join(', ')}`);
    const { catchUpMs = CATCH_UP_MS } = { catchUpMs: schedule.catchUpMs ?? CATCH_UP_MS };
    if (catchUpMs > CATCH_UP_MS_MAX)
      throw new FlowError('INVALID_ARGUMENT', `catchUp of schedule ${name} is at most 7d`);
    if (schedule.contentType.length > LIMITS.nameBytes)
      throw new FlowError('INVALID_ARGUMENT', `contentType of schedule ${name} is too long`);
    const payloadBase64 = Buffer.from(payload).toString('base64');
    return { name, cron, timeZone, payloadBase64, contentType: schedule.contentType, overlap, catchUpMs };
  });
}

export const scheduleMessage = (s: Schedule): pb.ScheduleInput => ({
  name: s.name,
  cron: s.cron,
  timeZone: s.timeZone,
  payload: Buffer.from(s.payloadBase64, 'base64'),
  contentType: s.contentType,
  overlap: s.overlap,
  catchUpMs: s.catchUpMs,
});

/** After a declaration: a schedule that is new, or ticks otherwise now, begins at `nowMs`. */
export function afterDeclaration(
  before: ReadonlyMap<string, ScheduleState>,
  schedules: readonly Schedule[],
  nowMs: number,
): Map<string, ScheduleState> {
  return new Map(
    schedules.map(({ name, cron, timeZone }) => {
      const known = before.get(name);
      if (known?.cron === cron && known.timeZone === timeZone) return [name, known];
      const { firedMs = 0, offset = -1, skippedTotal = 0 } = known ?? {};
      return [name, { cron, timeZone, lastMs: nowMs, firedMs, offset, bufferedMs: 0, skippedTotal }];
    }),
  );
}

/** Headers tell the job where it comes from. */
export function scheduledJob({ name, payloadBase64, contentType }: Schedule, tickMs: number): Buffer {
  const headers = new Map([
    ['flowmesh-schedule', Buffer.from(name)],
    ['flowmesh-scheduled-for', Buffer.from(new Date(tickMs).toISOString())],
  ]);
  const value = Buffer.from(payloadBase64, 'base64');
  return encodeBatch([{ value, contentType: contentType || undefined, headers }]);
}
