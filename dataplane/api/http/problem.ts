// Errors as problem documents (RFC 9457): {type, title, status, detail, code}, and Retry-After where it
// helps.
import { ERRORS, type ErrorCode, FlowError } from '@flowmesh/protocol';
import type { FastifyError, FastifyReply } from 'fastify';
import { encodeJson } from './json.ts';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

export function problemOf({ code, message, retryAfterMs }: FlowError) {
  const { http, title } = ERRORS[code];
  return {
    type: `urn:flowmesh:error:${code}`,
    title,
    status: http,
    detail: message,
    code,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) }),
  };
}

export function problemHeaders({ code, retryAfterMs }: FlowError): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': PROBLEM_TYPE };
  if (retryAfterMs !== undefined) headers['retry-after'] = String(Math.ceil(retryAfterMs / 1000));
  if (code === 'UNAUTHENTICATED') headers['www-authenticate'] = 'Bearer realm="flowmesh"';
  return headers;
}

export function sendProblem(reply: FastifyReply, error: FlowError): FastifyReply {
  const problem = problemOf(error);
  // Sent as bytes: a route's own serializer must not touch it.
  return reply
    .code(problem.status)
    .headers(problemHeaders(error))
    .send(Buffer.from(encodeJson(problem)));
}

/** A whole response, for a socket on which no request could be read. */
export function rawProblem(error: FlowError, status: number, reason: string): string {
  const body = encodeJson({ ...problemOf(error), status });
  const head = [
    `HTTP/1.1 ${status} ${reason}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}

const FASTIFY_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'VALUE_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'MALFORMED',
  FST_ERR_BAD_URL: 'MALFORMED',
};

/** Errors of fastify itself in our terms; everything else comes back as it was. */
export function translate(error: unknown): unknown {
  if (error instanceof FlowError || !(error instanceof Error)) return error;
  const { code, statusCode } = error as FastifyError;
  const known = FASTIFY_CODES[code];
  if (known) return new FlowError(known, error.message);
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new FlowError('INVALID_ARGUMENT', error.message);
  }
  return error;
}
