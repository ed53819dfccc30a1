// FlowError -> gRPC status, with the stable code and the pause as metadata.

import { ERRORS, type FlowError } from '@flowmesh/protocol';
import grpc from '@grpc/grpc-js';

export interface Status {
  readonly code: number;
  readonly details: string;
  readonly metadata: grpc.Metadata;
}

export function statusOf(error: FlowError): Status {
  const metadata = new grpc.Metadata();
  metadata.set('flowmesh-code', error.code);
  if (error.retryAfterMs !== undefined) {
    metadata.set('flowmesh-retry-after-ms', String(Math.ceil(error.retryAfterMs)));
  }
  // A lone surrogate in a name that a message quotes would make grpc-js throw while it encodes the status.
  return { code: ERRORS[error.code].grpc, details: error.message.toWellFormed(), metadata };
}
