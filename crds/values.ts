// The small languages inside manifests: durations, sizes and rates. One reader for the command line, the
// operator and `flowmesh dev`, so that `5m` means the same everywhere.
//   V1. A result is a safe integer above zero, or undefined: never NaN, never rounded.

const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const SIZES: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
};

const durationPattern = /^(?:[1-9][0-9]*(?:ms|s|m|h|d))+$/;

/** `90s`, `5m`, `24h`, `7d`, `1h30m` in ms; undefined: not a duration. */
export function parseDurationMs(text: string): number | undefined {
  if (text.length > 32 || !durationPattern.test(text)) return undefined;
  let ms = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|s|m|h|d)/g))
    ms += Number(count) * (MS[unit ?? ''] ?? 0);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** `50/s`, `100/m`, `5/h` as so many in a time; undefined: not a rate. */
export function parseRate(text: string): { count: number; periodMs: number } | undefined {
  const match = /^([1-9][0-9]{0,6})\/(s|m|h)$/.exec(text);
  return match === null ? undefined : { count: Number(match[1]), periodMs: MS[match[2] ?? ''] ?? 0 };
}

/** The inverse of parseRate; other periods in full: 3 in 1500ms. */
export function formatRate({ count, periodMs }: { count: number; periodMs: number }): string {
  const unit = ['s', 'm', 'h'].find((name) => MS[name] === periodMs);
  return unit === undefined ? `${count} in ${formatDuration(periodMs)}` : `${count}/${unit}`;
}

/** `512Mi`, `1Gi`, `20G`, `4096` in bytes; undefined: not a size. */
export function parseSizeBytes(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,15})(k|M|G|T|Ki|Mi|Gi|Ti)?$/.exec(text);
  if (match === null) return undefined;
  const bytes = Number(match[1]) * (SIZES[match[2] ?? ''] ?? 0);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const durationUnits: readonly [number, string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1000, 's'],
  [1, 'ms'],
];

/** The inverse of parseDurationMs, in as few parts as it takes: 5400000 is `1h30m`. */
export function formatDuration(ms: number): string {
  let left = Math.max(0, Math.round(ms));
  if (left === 0) return '0s';
  let text = '';
  for (const [unitMs, unit] of durationUnits) {
    if (left < unitMs) continue;
    text += `${Math.floor(left / unitMs)}${unit}`;
    left %= unitMs;
  }
  return text;
}

/** The inverse of parseSizeBytes, in the largest unit that is exact: 1536 Mi is `1536Mi`, 1025 is `1025`. */
export function exactSize(bytes: number): string {
  const units = ['Ti', 'Gi', 'Mi', 'Ki'] as const;
  const unit = units.find((each) => bytes % (SIZES[each] ?? 1) === 0);
  return unit === undefined ? String(bytes) : `${bytes / (SIZES[unit] ?? 1)}${unit}`;
}

/** The inverse of parseSizeBytes where it comes out even, else with one decimal. */
export function formatSize(bytes: number): string {
  const units = ['B', 'Ki', 'Mi', 'Gi', 'Ti'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)}${unit === 0 ? '' : units[unit]}`;
}
