// Structured logs: an event name and fields, never prose built from values; payloads and secrets never.
//   L1. Every line has `event`: 'area.what-happened'.
//   L2. Fields that may hold secrets or payloads are blanked at the top level and one level down.
import { type Logger, pino } from 'pino';

export type EventName = `${string}.${string}`;

export interface Fields {
  readonly event: EventName;
  readonly err?: unknown;
  readonly [field: string]: unknown;
}

type Write = (fields: Fields, message: string) => void;

export interface Log {
  debug: Write;
  info: Write;
  warn: Write;
  error: Write;
  fatal: Write;
  child(fields: { readonly [field: string]: unknown }): Log;
}

export type Level = 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface LogOptions {
  readonly level: Level;
  /** One short line for people instead of JSON. */
  readonly pretty?: boolean;
  /** Where lines go; standard output if unset. */
  readonly write?: (line: string) => void;
}

const SECRETS = [
  'authorization',
  'token',
  'password',
  'secret',
  'cookie',
  'payload',
  'value',
  'values',
  'records',
  'jobs',
  'headers',
];

export function createLog({ level, pretty = false, write }: LogOptions): Log {
  const out = write ?? ((line: string) => void process.stdout.write(line));
  const logger = pino(
    {
      level,
      base: null,
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    { write: (line: string) => out(pretty ? prettyLine(line) : line) },
  );
  return wrap(logger);
}

/** Methods that may be passed around by themselves, unlike those of pino. */
function wrap(logger: Logger): Log {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    fatal: (fields, message) => logger.fatal(fields, message),
    child: (fields) => wrap(logger.child(fields)),
  };
}

/** `12:00:01 INFO  grpc.listening  listening  port=7070`. */
function prettyLine(line: string): string {
  const { level, time, event, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${plain(value)}`);
  const trouble = err as { stack?: string; message?: string } | undefined;
  const head = [String(time).slice(11, 19), String(level).toUpperCase().padEnd(5), event, ' ', msg, ...rest];
  return `${head.join(' ')}\n${trouble ? `${trouble.stack ?? trouble.message}\n` : ''}`;
}

const plain = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
