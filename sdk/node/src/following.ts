// A watch on the server that is taken up again where it was cut off, until the caller has enough. The place
// is for the caller to know: `open` asks from there.
import { FlowError } from '@flowmesh/protocol';
import { backoffMs, pause } from './backoff.ts';
import type { Connection } from './connection.ts';
import { fromStatus, isWorthReconnecting } from './errors.ts';
import type { Stubs } from './lanes.ts';

export interface FollowTerms {
  /** Called when the server has taken up the watch, and whenever it takes it up again. */
  readonly onWatching?: (() => void) | undefined;
  /** Aborting ends the watch as if there were no more messages. */
  readonly signal?: AbortSignal | undefined;
}

/** Its messages; the first of each connection says that the watch stands. */
export async function* followed<M>(
  connection: Connection,
  open: (stubs: Stubs) => AsyncIterable<M> & NodeJS.EventEmitter & { cancel(): void },
  { onWatching, signal }: FollowTerms,
): AsyncGenerator<M, void, void> {
  for (let attempt = 0; !signal?.aborted && !connection.isClosed; attempt++) {
    const messages = connection.lanes.hold(open);
    const cancel = () => messages.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      let isFirst = true;
      for await (const message of messages) {
        attempt = 0;
        if (isFirst) onWatching?.();
        isFirst = false;
        yield message;
        if (signal?.aborted) return;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof FlowError) throw error;
      const failure = fromStatus(error as Parameters<typeof fromStatus>[0]);
      if (!isWorthReconnecting(failure)) throw failure;
    } finally {
      signal?.removeEventListener('abort', cancel);
      cancel();
    }
    await pause(backoffMs(attempt), signal);
  }
}
