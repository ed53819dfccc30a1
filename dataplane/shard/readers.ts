// How many requests may read the history at a time: each reads at most what is retained, a MiB at a time.
import { FlowError } from '@flowmesh/protocol';

const READERS_MAX = 4;
const RETRY_MS = 200;

export class Readers {
  #open = 0;

  async run<T>(read: () => Promise<T>): Promise<T> {
    if (this.#open >= READERS_MAX) {
      const message = `${READERS_MAX} requests are reading the history`;
      throw new FlowError('RESOURCE_EXHAUSTED', message, { retryAfterMs: RETRY_MS });
    }
    this.#open++;
    try {
      return await read();
    } finally {
      this.#open--;
    }
  }
}
