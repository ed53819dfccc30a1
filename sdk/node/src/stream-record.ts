// Records as readers see them: value, key and headers are decoded when they are asked for.
import {
  type BatchHead,
  type DecodedRecord,
  decodeEntry,
  type EntrySpan,
  type Envelope,
  readEntries,
  readHead,
} from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { decodeHeaders } from './headers.ts';
import { decodeValue, utf8 } from './values.ts';

/** A record of a stream. */
export interface StreamRecord<T = unknown> {
  /** Decoded by its content type; null: a tombstone. Throws MALFORMED if it says JSON and is not. */
  readonly value: T;
  readonly key: string | undefined;
  readonly partition: number;
  readonly offset: number;
  /** When the server appended it, ms since the epoch. */
  readonly timestamp: number;
  /** Producer time, ms since the epoch, if the producer gave it. */
  readonly producerTime: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly envelope: Envelope | undefined;
}

/** Position of a record in the bytes that were received. */
export interface Place {
  readonly bytes: Buffer;
  readonly head: BatchHead;
  readonly span: EntrySpan;
  readonly partition: number;
  readonly offset: number;
}

export class StoredRecord<T = unknown> implements StreamRecord<T> {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  readonly #place: Place;
  #record: DecodedRecord | undefined;
  #value: unknown = UNREAD;

  constructor(place: Place) {
    this.#place = place;
    this.partition = place.partition;
    this.offset = place.offset;
    this.timestamp = place.head.appendTimeMs;
  }

  get value(): T {
    if (this.#value === UNREAD) {
      const { value, contentType } = this.decoded;
      this.#value = value === null ? null : decodeValue(value, contentType);
    }
    return this.#value as T;
  }

  get key(): string | undefined {
    const { key } = this.decoded;
    return key === undefined ? undefined : utf8(key);
  }

  get producerTime(): number | undefined {
    return this.decoded.timeMs;
  }

  get headers(): Readonly<Record<string, string>> {
    return decodeHeaders(this.decoded.headers);
  }

  get contentType(): string {
    return this.decoded.contentType;
  }

  get envelope(): Envelope | undefined {
    return this.decoded.envelope;
  }

  /** @internal As it is stored. */
  get decoded(): DecodedRecord {
    const { bytes, head, span, offset } = this.#place;
    this.#record ??= decodeEntry(bytes, head, span, offset);
    return this.#record;
  }
}

const UNREAD = Symbol('unread');

/** The records of a chunk from `from` on; the first batch may begin before that. */
export function* placesOf(chunk: pb.RecordChunk, from: number): Generator<Place, void, void> {
  const bytes = chunk.batches as Buffer;
  for (let at = 0; at < bytes.length; ) {
    const head = readHead(bytes, at);
    if (head.baseOffset + head.count > from) {
      const spans = readEntries(bytes, at, head);
      for (let i = Math.max(0, from - head.baseOffset); i < spans.length; i++) {
        const span = spans[i] as EntrySpan;
        yield { bytes, head, span, partition: chunk.partition, offset: head.baseOffset + i };
      }
    }
    at += head.length;
  }
}

/** A record of a unary read. */
export function recordOf<T>(r: pb.Record): StreamRecord<T> {
  return {
    get value() {
      return (r.tombstone ? null : decodeValue(r.value, r.contentType)) as T;
    },
    key: r.key.length === 0 ? undefined : utf8(r.key),
    partition: r.partition,
    offset: r.offset,
    timestamp: r.timestampMs,
    producerTime: r.producerTimeMs || undefined,
    headers: decodeHeaders(new Map(Object.entries(r.headers))),
    contentType: r.contentType,
    envelope: envelopeFrom(r.envelope),
  };
}

export function envelopeFrom(e: pb.Envelope | null): Envelope | undefined {
  if (e === null) return undefined;
  const envelope: Envelope = {};
  if (e.traceparent !== '') envelope.traceparent = e.traceparent;
  if (e.causationId !== '') envelope.causationId = e.causationId;
  if (e.correlationId !== '') envelope.correlationId = e.correlationId;
  if (e.tags.length > 0) envelope.tags = e.tags;
  if (e.schema !== '') envelope.schema = e.schema;
  return Object.keys(envelope).length > 0 ? envelope : undefined;
}
