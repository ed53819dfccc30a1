// What an event of the queue view is as the effect of a message. Jobs say themselves whose effects they are.
import { decodeEntry, readEntries, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { causesIn } from '../shard/batch-causes.ts';
import type { Event } from '../shard/state-machine.ts';
import * as ev from './events.ts';
import * as life from './life-events.ts';

interface Place {
  readonly nameOf: (queueNo: number) => string;
  readonly idPrefix: (queueNo: number) => string;
}

export function* queueEffects(event: Event, place: Place, withValues: boolean): Generator<pb.EffectInput> {
  const e = event as ev.QueueEvent | life.LifeEvent;
  if (e.type === ev.DEDUP_EXPIRED || !('queueNo' in e)) return;
  const queue = place.nameOf(e.queueNo);
  const effect = (kind: string, offset: number): pb.EffectInput => ({
    kind,
    queue,
    jobId: place.idPrefix(e.queueNo) + offset.toString(36),
  });
  switch (e.type) {
    case ev.ENQUEUED:
      for (const { index, deliveryId, ordinal } of causesIn(e.batch)) {
        const payload = withValues ? payloadOf(e.batch, index) : {};
        yield { ...effect('enqueued', e.firstOffset + index), deliveryId, ordinal, ...payload };
      }
      return;
    case ev.ACKED:
      for (const { offset, count } of e.ranges)
        for (let i = 0; i < count; i++) yield effect('acked', offset + i);
      return;
    case ev.RETURNED:
      for (const { offset } of e.jobs) yield effect(e.reason, offset);
      return;
    case ev.REMOVED:
      for (const { offset } of e.ready) yield effect('redriven', offset);
      return;
    case ev.EXTENDED:
      yield effect('extended', e.offset);
      return;
    case life.CANCELLED:
      yield effect('cancelled', e.offset);
      return;
    case ev.PURGED:
      yield { kind: 'purged', queue };
  }
}

/** Of a job or record; a tombstone has none. */
export function payloadOf(batch: Buffer, index: number): pb.EffectInput {
  const head = readHead(batch);
  const span = readEntries(batch, 0, head)[index];
  if (span === undefined) return {};
  const { value, contentType } = decodeEntry(batch, head, span, 0);
  return value === null ? {} : { payload: Buffer.from(value), contentType };
}
