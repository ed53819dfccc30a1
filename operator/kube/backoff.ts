// How long to wait after the n-th failure in a row: doubles from `baseMs` to `maxMs`, and half of it is
// chance, so that many that failed together do not come back together.

export interface BackoffTerms {
  readonly baseMs: number;
  readonly maxMs: number;
}

export function backoffMs(failures: number, terms: BackoffTerms, random: number): number {
  // 2^30 times the base is beyond every bound.
  const whole = Math.min(terms.maxMs, terms.baseMs * 2 ** Math.min(Math.max(failures, 1) - 1, 30));
  return whole / 2 + (whole / 2) * random;
}

/** `ms` and up to a `share` less: periodic work of many objects spreads out by itself. */
export function earlier(ms: number, share: number, random: number): number {
  return ms - ms * share * random;
}
