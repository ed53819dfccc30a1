// What an event of the stream view is as the effect of a message. Records say themselves whose effects they
// are.
import { decodeEntry, readEntries, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { causesIn } from '../shard/batch-causes.ts';
import type { Event } from '../shard/state-machine.ts';
import { type Appended, type Committed, STREAM_EVENT, type StreamEvent } from './events.ts';

export function* streamEffects(
  event: Event,
  nameOf: (no: number) => string,
  withValues: boolean,
): Generator<pb.EffectInput> {
  const { type } = event as StreamEvent;
  if (type === STREAM_EVENT.appended) {
    const { no, partition, batch } = event as Appended;
    const head = readHead(batch);
    const spans = withValues ? readEntries(batch, 0, head) : [];
    for (const { index, deliveryId, ordinal } of causesIn(batch)) {
      const span = spans[index];
      const record = span && decodeEntry(batch, head, span, 0);
      yield {
        kind: 'written',
        stream: nameOf(no),
        partition,
        offset: head.baseOffset + index,
        deliveryId,
        ordinal,
        ...(record?.value ? { payload: Buffer.from(record.value), contentType: record.contentType } : {}),
      };
    }
  } else if (type === STREAM_EVENT.committed) {
    const { no, group, partition, offset } = event as Committed;
    yield { kind: 'committed', stream: nameOf(no), group, partition, offset };
  }
}
