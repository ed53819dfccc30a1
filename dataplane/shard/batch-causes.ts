// Causes that the entries of a record batch name: each record or job says itself whose effect it is.
import { type BatchHead, EXT, readCause, readEntries, readExt, readHead } from '@flowmesh/protocol';
import { messageOf } from './effects.ts';

export interface EntryCause {
  /** Place in the batch. */
  readonly index: number;
  readonly deliveryId: string;
  readonly ordinal: number;
}

export function* causesIn(batch: Buffer): Generator<EntryCause, void, void> {
  const head = readHead(batch);
  const spans = readEntries(batch, 0, head);
  for (const [index, span] of spans.entries()) {
    let text: string | undefined;
    if (span.extLength > 0)
      readExt(batch, span, (tag, from, to) => {
        if (tag === EXT.cause) text = batch.toString('utf8', from, to);
      });
    if (text !== undefined) yield { index, ...readCause(text) };
  }
}

/** Messages that caused entries of a validated batch; undefined: none, and nothing was looked at. */
export function causingMessages(batch: Buffer, { caused }: BatchHead): string[] | undefined {
  if (!caused) return undefined;
  const messages = new Set<string>();
  for (const { deliveryId } of causesIn(batch)) messages.add(messageOf(deliveryId));
  return [...messages];
}
