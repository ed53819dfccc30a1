// Distributions, of whatever gives numbers from 0 to 1.

export const exponential = (rng: () => number, mean: number): number => -Math.log(1 - rng()) * mean;

/** `spread`: the standard deviation / the mean. */
export function logNormal(rng: () => number, mean: number, spread: number): number {
  const variance = Math.log(1 + spread * spread);
  const normal = Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
  return mean * Math.exp(Math.sqrt(variance) * normal - variance / 2);
}
