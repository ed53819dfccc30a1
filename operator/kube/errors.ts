// What the API server said no to, or that it could not be asked. Branch on `status` and `reason`, never on
// text.

export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** The `Status` object that the API answers with. */
export interface ApiStatus {
  readonly reason?: string;
  readonly message?: string;
  readonly code?: number;
  readonly details?: { readonly causes?: readonly StatusCause[]; readonly retryAfterSeconds?: number };
}

export class KubeError extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** Such as AlreadyExists, Conflict, Expired, Invalid, NotFound; Unreachable when no answer came. */
  readonly reason: string;
  readonly causes: readonly StatusCause[];
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    said: {
      status: number;
      reason: string;
      causes?: readonly StatusCause[];
      retryAfterMs?: number;
      cause?: unknown;
    },
  ) {
    super(message, { cause: said.cause });
    this.name = 'KubeError';
    this.status = said.status;
    this.reason = said.reason;
    this.causes = said.causes ?? [];
    this.retryAfterMs = said.retryAfterMs;
  }
}

export function errorOfStatus(
  what: string,
  said: ApiStatus,
  status: number,
  retryAfterMs?: number,
): KubeError {
  const { reason = `Http${status}`, message = 'no message', details } = said;
  const seconds = details?.retryAfterSeconds;
  const after = retryAfterMs ?? (seconds === undefined ? undefined : seconds * 1000);
  return new KubeError(`${what}: ${message}`, {
    status: said.code ?? status,
    reason,
    ...(details?.causes && { causes: details.causes }),
    ...(after !== undefined && { retryAfterMs: after }),
  });
}

const hasStatus = (error: unknown, status: number) => error instanceof KubeError && error.status === status;

export const isNotFound = (error: unknown) => hasStatus(error, 404);
export const isConflict = (error: unknown) => hasStatus(error, 409);
/** The version asked for is no longer in the API server's history. */
export const isGone = (error: unknown) => hasStatus(error, 410);
export const isUnauthorized = (error: unknown) => hasStatus(error, 401);
/** The server has answered that it did nothing: not so where it failed at it (5xx), or was not heard. */
export function isRefusal(error: unknown): boolean {
  return error instanceof KubeError && error.status >= 400 && error.status < 500;
}

/** A version that this API server has not reached: restored from a backup, or behind another one. */
export function isTooLargeVersion(error: unknown): boolean {
  return (
    error instanceof KubeError && error.causes.some((cause) => cause.reason === 'ResourceVersionTooLarge')
  );
}
