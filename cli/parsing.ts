// Arguments and options as values. A wrong one ends with exit code 2 and says what would have been right.
import { InvalidArgumentError } from 'commander';
import { parseDurationMs, parseRate, parseSizeBytes } from '../crds/values.ts';

/** `90s`, `5m`, `24h`, `7d` in ms. Never 0: on the wire that is "unset", and the default would come. */
export function duration(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined)
    throw new InvalidArgumentError('Write a number and a unit: 500ms, 90s, 5m, 24h or 7d.');
  return ms;
}

/** `duration`, where none at all makes sense as well. */
export const durationOrNone = (text: string): number => (/^0[a-z]*$/.test(text) ? 0 : duration(text));

/** `512Mi`, `1Gi` in bytes. */
export function size(text: string): number {
  const bytes = parseSizeBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError('Write a number and a unit: 512Mi, 1Gi or 20Gi.');
  return bytes;
}

/** `50/s`, `100/m`, `5/h`. */
export function rate(text: string): { count: number; periodMs: number } {
  const value = parseRate(text);
  if (value === undefined) throw new InvalidArgumentError('Write a rate: 50/s, 100/m or 5/h.');
  return value;
}

export function whole(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^-?[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    const from = min === Number.MIN_SAFE_INTEGER ? '' : ` from ${min}`;
    const to = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`;
    throw new InvalidArgumentError(`Write a whole number${from}${to}.`);
  };
}

export const wholeOrNegative = whole(Number.MIN_SAFE_INTEGER);

export function decimal(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isNaN(value)) return value;
  throw new InvalidArgumentError('Write a number.');
}

/** `order`, or `order@2` for that version only. */
export function schemaRef(text: string): { name: string; version: number } {
  const [, name = '', version] = /^([^@]+)(?:@([1-9]\d{0,6}))?$/.exec(text) ?? [];
  if (name === '') throw new InvalidArgumentError('Write a name, or a name and a version: order@2.');
  return { name, version: Number(version ?? 0) };
}

/** `name=value`, may be given several times. */
export function header(text: string, before: Record<string, string> = {}): Record<string, string> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('Write name=value.');
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) };
}

/** A point in time: ISO 8601, ms since 1970, or a duration that lies back (`15m`). */
export function timestamp(text: string): (nowMs: number) => number {
  const agoMs = parseDurationMs(text);
  if (agoMs !== undefined) return (nowMs) => nowMs - agoMs;
  const isIso = /^\d{4}-\d{2}-\d{2}/.test(text);
  const parsed = isIso ? Date.parse(text) : /^[0-9]{12,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isNaN(parsed)) return () => parsed;
  throw new InvalidArgumentError('Write a time such as 2026-01-31T12:00:00Z, or how long ago: 15m.');
}

/** What was typed goes out as it is: a JSON object or array as JSON, anything else as text. */
export function typedValue(text: string): { bytes: Uint8Array; contentType: string } {
  return { bytes: Buffer.from(text), contentType: looksLikeJson(text) ? 'application/json' : 'text/plain' };
}

function looksLikeJson(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
