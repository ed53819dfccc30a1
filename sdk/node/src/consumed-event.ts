// A record in the hands of a consumer: it can be committed, and its effects can be traced to it.
import type { Commits, OwnedPartition } from './commits.ts';
import type { Consumer } from './consumer.ts';
import { type Origin, runWithOrigin } from './origin.ts';
import { type Place, StoredRecord, type StreamRecord } from './stream-record.ts';

/** A record that a consumer group is handling. */
export interface StreamEvent<T = unknown> extends StreamRecord<T> {
  readonly stream: string;
  /**
   * Commits this event and those before it in its partition; resolves when that is durable. Rarely needed:
   * asking for the next event commits this one, in the background.
   * @throws FlowError MEMBER_FENCED if the partition belongs to another member by now
   */
  commit(): Promise<void>;
  /** Runs `effect` so that what it enqueues, writes or sets is traced to this event. */
  run<R>(effect: () => R): R;
}

const GROUP_CHARS_MAX = 255;

export class ConsumedEvent<T = unknown> extends StoredRecord<T> implements StreamEvent<T>, Origin {
  readonly owned: OwnedPartition;
  readonly consumer: Consumer<T>;
  readonly #commits: Commits;
  #ordinal = 0;

  constructor(place: Place, consumer: Consumer<T>, owned: OwnedPartition, commits: Commits) {
    super(place);
    this.consumer = consumer;
    this.owned = owned;
    this.#commits = commits;
  }

  get stream(): string {
    return this.consumer.stream;
  }

  get id(): string {
    return `${this.stream}/${this.partition}/${this.offset}`;
  }

  get deliveryId(): string {
    // A name may have any characters, and the id has its bounds.
    const group = encodeURIComponent(this.consumer.group).slice(0, GROUP_CHARS_MAX);
    return `${this.id}@${group}/${this.owned.epoch}`;
  }

  get ordinal(): number {
    return this.#ordinal;
  }

  nextOrdinal(): number {
    return ++this.#ordinal;
  }

  commit(): Promise<void> {
    return this.#commits.commit(this.owned, this.offset + 1);
  }

  run<R>(effect: () => R): R {
    return runWithOrigin(this, effect, undefined);
  }
}
