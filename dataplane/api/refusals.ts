// Turns whatever a handler threw into what the client may see. A FlowError passes as it is; INTERNAL and
// anything else is a bug of ours: the client gets a request id, the log gets the error under the same id.
import { FlowError } from '@flowmesh/protocol';
import type { Runtime } from '../runtime.ts';
import type { FabricState } from '../services.ts';
import type { Log } from '../telemetry/log.ts';

export type Refuse = (error: unknown, operation: string) => FlowError;

export function createRefuse({ log, runtime }: { log: Log; runtime: Runtime }): Refuse {
  return (error, operation) => {
    if (error instanceof FlowError && error.code !== 'INTERNAL') return error;
    const requestId = newRequestId(runtime);
    log.error({ event: 'api.failed', operation, requestId, err: error }, 'unexpected error in a handler');
    return new FlowError('INTERNAL', `internal error; request id ${requestId}`, { cause: error });
  };
}

/** 10 digits of base 36: enough to find one line in a log. */
export function newRequestId({ random }: Runtime): string {
  return Math.floor(random() * 36 ** 10)
    .toString(36)
    .padStart(10, '0');
}

/** Throws while nothing can be answered. A full disk or a drain is for the services: reads and acks go on. */
export function checkServing(state: FabricState): void {
  if (state === 'starting') {
    throw new FlowError('UNAVAILABLE', 'the server is starting', { retryAfterMs: 500 });
  }
  if (state === 'failed') {
    throw new FlowError('UNAVAILABLE', 'the data plane has failed; see the log of the server', {
      retryAfterMs: 5000,
    });
  }
}

export const closing = (): FlowError =>
  new FlowError('UNAVAILABLE', 'the server is closing', { retryAfterMs: 100 });

/** The error as it stands inside a batched reply. */
export const errorMessage = (error: FlowError) => ({
  code: error.code,
  message: error.message,
  retryAfterMs: error.retryAfterMs ?? 0,
});
