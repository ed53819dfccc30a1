// Durations as people write them. A number is seconds; a string names its unit.
import { FlowError } from '@flowmesh/protocol';

/** Seconds as a number, or a string with a unit: `'250ms'`, `'90s'`, `'5m'`, `'24h'`, `'7d'`. */
export type Duration = number | string;

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Whole milliseconds. `name` is the option that the error speaks of. */
export function durationMs(duration: Duration, name: string): number {
  const ms = typeof duration === 'number' ? duration * 1000 : parseMs(duration);
  if (!(ms >= 0 && ms <= Number.MAX_SAFE_INTEGER)) {
    throw new FlowError(
      'INVALID_ARGUMENT',
      `${name}: ${JSON.stringify(duration)} is not a duration; give seconds, or text such as '90s' or '24h'`,
    );
  }
  return Math.round(ms);
}

export const optionalMs = (duration: Duration | undefined, name: string): number | undefined =>
  duration === undefined ? undefined : durationMs(duration, name);

function parseMs(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$/.exec(text);
  return match === null ? Number.NaN : Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? Number.NaN);
}
