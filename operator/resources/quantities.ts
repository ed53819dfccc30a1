// Amounts of Kubernetes (`20Gi`, `1500m`, `5e3`) as numbers, to compare them: what is written differently can
// be the same.

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** undefined: it is no quantity. */
export function quantity(text: string): number | undefined {
  const [, digits, exponent, unit = ''] =
    /^([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+))?([numkMGTPE]|[KMGTPE]i)?$/.exec(text) ?? [];
  const factor = FACTORS[unit];
  if (digits === undefined || factor === undefined) return undefined;
  return Number(digits) * 10 ** Number(exponent ?? 0) * factor;
}
