// What handlers need to know about a request beside its body.
import { createHash } from 'node:crypto';
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Every header's name in lower case; fastify joins repeats with a comma. */
export function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/**
 * `Idempotency-Key` as a producer with one sequence. Identity, method and path are part of it: two users,
 * or two requests, that happen to choose one key do not get each other's answers.
 */
export function mutationOf(request: FastifyRequest): pb.Mutation | null {
  const key = header(request, 'idempotency-key');
  const cause = causeOf(request);
  if (key === undefined) return cause && pb.Mutation.create({ cause });
  const path = request.url.split('?', 1)[0];
  const scope = JSON.stringify([request.caller.identity, request.method, path, key]);
  const digest = createHash('sha256').update(scope).digest('base64url').slice(0, 27);
  return pb.Mutation.create({ producerId: `http:${digest}`, seq: 0, cause });
}

/** `FlowMesh-Cause: <ordinal> <delivery id>`: whose effect the request is. */
function causeOf(request: FastifyRequest): pb.Cause | null {
  const text = header(request, 'flowmesh-cause');
  if (text === undefined) return null;
  const [, ordinal, deliveryId] = /^([0-9]{1,9}) (.{1,1024})$/.exec(text) ?? [];
  if (deliveryId !== undefined) return pb.Cause.create({ deliveryId, ordinal: Number(ordinal) });
  const message = 'flowmesh-cause is the ordinal and the delivery id, for example: 1 0-1-2s@7';
  throw new FlowError('INVALID_ARGUMENT', message);
}

/** Whether the client still waits for its response. */
export interface Presence {
  /** Aborts when the client is gone, or when the listener closes. */
  readonly signal: AbortSignal;
  leave(): void;
}

export function presenceOf(reply: FastifyReply, drains: Set<() => void>): Presence {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const gone = () => {
    if (!reply.raw.writableFinished) abort();
  };
  reply.raw.once('close', gone);
  drains.add(abort);
  return {
    signal: controller.signal,
    leave() {
      reply.raw.off('close', gone);
      drains.delete(abort);
    },
  };
}

/** Runs `lost` if the response that is about to be sent cannot be written. */
export function ifUnwritten(reply: FastifyReply, lost: () => void): void {
  if (reply.raw.destroyed) {
    lost();
    return;
  }
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) lost();
  });
}
