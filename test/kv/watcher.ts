// A client that watches keys, as slow and as often cut off as a test wants it.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import {
  KvWatchRequest,
  type KvWatchRequestInput,
  KvWatchResponse,
} from '@flowmesh/protocol/gen/flowmesh.js';
import type { KeyValues } from '../../dataplane/kv/service.ts';
import type { WatchSession } from '../../dataplane/services.ts';
import { caller } from './support.ts';

export class Watcher {
  readonly changes: pb.KvChange[] = [];
  cursor = '';
  messages = 0;
  largestMessage = 0;
  failure: FlowError | undefined;
  /** Messages that fit before `send` says stop. */
  room = Number.POSITIVE_INFINITY;
  #session: WatchSession | undefined;

  async open(service: KeyValues, request: KvWatchRequestInput = {}, tenant = 1): Promise<this> {
    const decoded = KvWatchRequest.decode(KvWatchRequest.encode(request).finish());
    let isOpen = true;
    const session = await service.openWatch(
      caller(tenant),
      decoded,
      (message) => isOpen && this.#receive(message),
      (error) => {
        this.failure = error;
      },
    );
    this.#session = {
      resume: () => session.resume(),
      close: () => {
        isOpen = false;
        session.close();
      },
    };
    return this;
  }

  #receive(message: pb.KvWatchResponseInput): boolean {
    const bytes = KvWatchResponse.encode(message).finish();
    const { changes, cursor } = KvWatchResponse.decode(bytes);
    this.messages++;
    this.largestMessage = Math.max(this.largestMessage, bytes.length);
    this.changes.push(...changes);
    this.cursor = cursor;
    return --this.room > 0;
  }

  read(messages: number): void {
    this.room = messages;
    this.#session?.resume();
  }

  close(): void {
    this.#session?.close();
  }

  /** Resolves when so many changes have come. */
  async until(count: number): Promise<pb.KvChange[]> {
    for (let turn = 0; this.changes.length < count; turn++) {
      if (this.failure !== undefined) throw this.failure;
      if (turn > 20_000) throw new Error(`${this.changes.length} changes of ${count}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.changes;
  }
}

/** `set k=v`, `delete k`, `expire k`. */
export const words = (changes: readonly pb.KvChange[]): string[] =>
  changes.map(({ reason, key, value }) => `${reason} ${key}${value.length > 0 ? `=${value}` : ''}`);
