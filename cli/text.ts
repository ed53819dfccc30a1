// Values as text for people: numbers, times, sizes, and bytes that nobody vouches for.

/** 1234567 is 1,234,567. */
export const count = (value: number): string => value.toLocaleString('en-US');

/** `1 job`, `2,000 jobs`. */
export const counted = (value: number, one: string): string =>
  `${count(value)} ${one}${value === 1 ? '' : 's'}`;

/** At most two units: `850ms`, `12s`, `3m 5s`, `2h 10m`, `4d 3h`. */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  const units: readonly [number, string][] = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'm'],
    [1, 's'],
  ];
  const seconds = Math.floor(ms / 1000);
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, unit] = units[first] ?? [1, 's'];
  const [smaller, smallerUnit] = units[first + 1] ?? [0, ''];
  const rest = smaller === 0 ? 0 : Math.floor((seconds % size) / smaller);
  const head = `${Math.floor(seconds / size)}${unit}`;
  return rest === 0 ? head : `${head} ${rest}${smallerUnit}`;
}

/** `1,250/s`, `12.5/s`, `0.031/s`: three digits. */
export function perSecond(rate: number): string {
  const maximumSignificantDigits = Math.max(3, Math.ceil(Math.log10(rate + 1)));
  return `${rate.toLocaleString('en-US', { maximumSignificantDigits })}/s`;
}

/** `2/5`: so many busy, of so many. */
export const workersText = (of: { busyWorkers: number; workers: number } | null | undefined): string =>
  `${count(of?.busyWorkers ?? 0)}/${count(of?.workers ?? 0)}`;

/** `3m 5s ago`, `in 12s`; `-` for a time that is not set. */
export function relative(timeMs: number, nowMs: number): string {
  if (timeMs === 0) return '-';
  const distance = timeMs - nowMs;
  return distance > 0 ? `in ${span(distance)}` : `${span(-distance)} ago`;
}

/** Local time to the millisecond; the date only when it is not today. */
export function clock(timeMs: number, nowMs: number): string {
  const at = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = (date: Date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const millis = String(at.getMilliseconds()).padStart(3, '0');
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${millis}`;
  return day(at) === day(new Date(nowMs)) ? time : `${day(at)} ${time}`;
}

/** Control characters become visible, so that stored data can neither move the cursor nor forge a line. */
export function printable(text: string, keepLines = false): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (char) => {
    if (keepLines && (char === '\n' || char === '\t')) return char;
    const known: Readonly<Record<string, string>> = {
      '\n': '\\n',
      '\r': '\\r',
      '\t': '\\t',
      '\u001b': '\\e',
    };
    return known[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** Bytes as text; undefined: they are not UTF-8, or hold zeros as only binary data does. */
export function textOf(bytes: Uint8Array, isCut = false): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    // What is cut may end within a character.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: isCut });
  } catch {
    return undefined;
  }
}

/** No terminal line shows more. */
const previewBytes = 4096;

/** Bytes on one line: text as it is, anything else as its beginning in hex. */
export function preview(bytes: Uint8Array): string {
  const isCut = bytes.length > previewBytes;
  const text = textOf(bytes.subarray(0, previewBytes), isCut);
  if (text === undefined) return binaryPreview(bytes);
  return printable(isCut ? `${text}…` : text);
}

function binaryPreview(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.subarray(0, 16)).toString('hex').replaceAll(/../g, '$& ').trim();
  return `<${count(bytes.length)} bytes: ${hex}${bytes.length > 16 ? ' …' : ''}>`;
}

/** `149.1 KiB`; whole bytes below a kilobyte. */
export function dataSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** step;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[step]}`;
}

const ansi = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');

/** Columns that the text takes on a terminal: colours and combining marks take none, wide characters two. */
export function width(text: string): number {
  let columns = 0;
  for (const char of text.replace(ansi, '')) columns += columnsOf(char);
  return columns;
}

/** East Asian wide and fullwidth blocks and emoji (Unicode TR 11), near enough for tables. */
const wide = new RegExp(
  `[${[
    '\\u1100-\\u115f\\u2e80-\\ua4cf\\uac00-\\ud7a3\\uf900-\\ufaff\\ufe30-\\ufe6f',
    '\\uff00-\\uff60\\uffe0-\\uffe6\\u{1f300}-\\u{1faff}\\u{20000}-\\u{3fffd}\\p{Emoji_Presentation}',
  ].join('')}]`,
  'u',
);

function columnsOf(char: string): number {
  if (char < '\u0300') return 1;
  return /[\p{Mn}\p{Me}\p{Cf}]/u.test(char) ? 0 : wide.test(char) ? 2 : 1;
}

/** Cut to `max` columns, with an ellipsis where something is missing. Plain text only. */
export function clip(text: string, max: number): string {
  if (width(text) <= max) return text;
  let kept = '';
  let columns = 0;
  for (const char of text) {
    columns += columnsOf(char);
    if (columns > max - 1) break;
    kept += char;
  }
  return `${kept}…`;
}
