// Chance with a seed: the same run each time.

/** Numbers from 0 to 1, 1 excluded (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const exponential = (rng: () => number, mean: number): number => -Math.log(1 - rng()) * mean;

/** `spread`: the standard deviation / the mean. */
export function logNormal(rng: () => number, mean: number, spread: number): number {
  const variance = Math.log(1 + spread * spread);
  const normal = Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
  return mean * Math.exp(Math.sqrt(variance) * normal - variance / 2);
}
