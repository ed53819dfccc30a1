// The one error that servers and SDKs throw: a code of the table, and a message for people.
import { ERRORS, type ErrorCode, type Retry } from './errors.ts';

/** Every failure of FlowMesh, on servers and in SDKs. Branch on `code`. */
export class FlowError extends Error {
  override readonly name = 'FlowError';
  readonly code: ErrorCode;
  /** When to try again, in ms; only where `retry` is `backoff`. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; retryAfterMs?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterMs = options?.retryAfterMs;
  }

  get retry(): Retry {
    return ERRORS[this.code].retry;
  }
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code);
