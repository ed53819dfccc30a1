// Structured logs of the operator, as the data plane writes them: JSON, an event name and fields.
//   L1. Every line has `event`: 'area.what-happened'. L2. Fields that may hold secrets are blanked.
import { type Logger, pino } from 'pino';
import { KubeError } from './kube/errors.ts';
import type { KubeLog } from './kube/telemetry.ts';

export const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type Level = (typeof LEVELS)[number];

const SECRETS = ['authorization', 'token', 'password', 'secret', 'data', 'stringData', 'headers'];

export function createLog(level: Level, write?: (line: string) => void): KubeLog {
  const logger = pino(
    {
      level,
      base: null,
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: errorFields },
    },
    { write: write ?? ((line: string) => void process.stdout.write(line)) },
  );
  return wrap(logger);
}

/** Where in our code we asked the API server says nothing; what it answered does. */
function errorFields(err: unknown): unknown {
  if (err instanceof KubeError) return { message: err.message, reason: err.reason, status: err.status };
  return err instanceof Error ? pino.stdSerializers.err(err) : err;
}

/** Methods that may be passed around by themselves, unlike those of pino. */
function wrap(logger: Logger): KubeLog {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    fatal: (fields, message) => logger.fatal(fields, message),
    child: (fields) => wrap(logger.child(fields)),
  };
}
