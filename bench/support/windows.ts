// Measuring a rate: warm-up, then windows, then medians. Load generators count; this only reads the counter.

export interface Rate {
  /** Per second, one for each window. */
  readonly windows: readonly number[];
  readonly median: number;
  readonly best: number;
}

export interface Plan {
  readonly warmUpMs: number;
  readonly windowMs: number;
  readonly windows: number;
}

export const DEFAULT_PLAN: Plan = { warmUpMs: 3000, windowMs: 4000, windows: 3 };

export async function measureRate(count: () => number, plan: Plan = DEFAULT_PLAN): Promise<Rate> {
  await sleep(plan.warmUpMs);
  const windows: number[] = [];
  for (let i = 0; i < plan.windows; i++) {
    const from = count();
    const startMs = performance.now();
    await sleep(plan.windowMs);
    windows.push(((count() - from) * 1000) / (performance.now() - startMs));
  }
  return { windows, median: median(windows), best: Math.max(...windows) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

export const quantile = (values: readonly number[], q: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
};

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export const shown = (n: number): string =>
  n >= 100_000
    ? `${Math.round(n / 1000)} k`
    : n >= 1000
      ? `${(n / 1000).toFixed(1)} k`
      : n.toFixed(n < 10 ? 2 : 0);
