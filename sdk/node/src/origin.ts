// Whose effect a call is. Around a handler this carries the delivery that is being handled, so that what the
// handler enqueues, writes or sets can be traced to it. Costs about 0.3 us per job (AsyncLocalStorage); see
// `trackEffects`.
//   O1. What outlives a handler (streams, connections) is opened outside of every origin; it would keep the
//       job in memory.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Envelope } from '@flowmesh/protocol';

/** A delivery that causes effects: a job or an event. */
export interface Origin {
  /**
   * Unique per delivery, not per message: `<job id>@<lease epoch>`,
   * `<stream>/<partition>/<offset>@<group>/<epoch>`.
   */
  readonly deliveryId: string;
  /** The message: `<job id>`, `<stream>/<partition>/<offset>`. */
  readonly id: string;
  readonly envelope: Envelope | undefined;
  /** Of the last effect; 0: there was none. */
  readonly ordinal: number;
  /** Position of the next effect among those of this delivery, from 1. */
  nextOrdinal(): number;
}

export interface Cause {
  deliveryId: string;
  ordinal: number;
}

const origins = new AsyncLocalStorage<Origin | undefined>();

export const currentOrigin = (): Origin | undefined => origins.getStore();

export const runWithOrigin = <A, R>(origin: Origin, run: (argument: A) => R, argument: A): R =>
  origins.run(origin, run, argument);

/** The rest of the synchronous call runs with this origin; cheaper than `run` for many in a row. */
export const enterOrigin = (origin: Origin | undefined): void => origins.enterWith(origin);

/** O1 */
export const withoutOrigin = <R>(run: () => R): R => origins.run(undefined, run);

export const causeOf = (origin: Origin): Cause => ({
  deliveryId: origin.deliveryId,
  ordinal: origin.nextOrdinal(),
});

/** The envelope of an effect: what the caller gives wins over what the message in hand passes on. */
export function envelopeOf(origin: Origin, given: Envelope | undefined): Envelope {
  const from = origin.envelope;
  const envelope: Envelope = { causationId: origin.id, correlationId: from?.correlationId ?? origin.id };
  if (from?.traceparent !== undefined) envelope.traceparent = from.traceparent;
  return given === undefined ? envelope : { ...envelope, ...given };
}
