// A job as a message, where it does not travel in a record batch: transactions and flows.
import type { RecordOptions } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import { type EnqueueOptions, jobOptions } from './enqueue.ts';
import { currentOrigin, envelopeOf } from './origin.ts';
import { contentTypeOf, encodeValue } from './values.ts';

/** Inside a handler with the envelope of the job in hand. */
export function newJob(payload: unknown, options: Omit<EnqueueOptions, keyof CallOptions>): pb.NewJobInput {
  const origin = currentOrigin();
  const o: RecordOptions = {};
  jobOptions(options, o);
  if (origin !== undefined) o.envelope = envelopeOf(origin, o.envelope);
  const { headers, ...rest } = o;
  return {
    ...rest,
    payload: encodeValue(payload),
    contentType: contentTypeOf(payload),
    headers: headers === undefined ? undefined : Object.fromEntries(headers),
  };
}
