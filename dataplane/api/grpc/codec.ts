// Decoding that cannot fail: grpc-js answers a throwing decoder with INTERNAL, which blames the wrong side,
// so the handlers get what came with its error instead.
//   C1. `bytes` fields are views of the message's own buffer: grpc-js joins the frames of each message into
//       a buffer that nobody else writes to, so a record batch handed on is owned by who receives it.

import { FlowError } from '@flowmesh/protocol';
import type grpc from '@grpc/grpc-js';

/** A message as it arrived. */
export type Received<Request> =
  | { readonly bytes: number; readonly message: Request; readonly error: undefined }
  | { readonly bytes: number; readonly message: undefined; readonly error: FlowError };

/** The definition with every request decoder wrapped. */
export function guarded(definition: grpc.ServiceDefinition): grpc.ServiceDefinition {
  return Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [
      name,
      { ...method, requestDeserialize: guard(method.requestDeserialize, method.path) },
    ]),
  );
}

function guard<Request>(
  decode: (bytes: Buffer) => Request,
  path: string,
): (bytes: Buffer) => Received<Request> {
  return (bytes) => {
    try {
      return { bytes: bytes.length, message: decode(bytes), error: undefined };
    } catch (cause) {
      const error = new FlowError('MALFORMED', `request of ${path} is not a valid message`, { cause });
      return { bytes: bytes.length, message: undefined, error };
    }
  };
}
