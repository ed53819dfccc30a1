// The loads of the simulation: what arrives, what it takes, what is asked for.

export interface Shape {
  readonly name: string;
  /** What happens, for a table. */
  readonly title: string;
  readonly durationS: number;
  /** Arrivals per second. */
  readonly rate: (atS: number) => number;
  /** Mean seconds of work, and the standard deviation / the mean. */
  readonly work: { readonly meanS: number; readonly spread: number };
  readonly from: number;
  readonly to: number;
  readonly lagMax: number;
  readonly ageMaxS: number;
  readonly podStartS: number;
  /** Of a stream; 0: it is a queue. */
  readonly partitions: number;
  /** It changes so slowly that nobody has to be late. */
  readonly isGradual?: true;
  /** When the head of a partition is one that is never done. */
  readonly poisonS?: number;
}

const usual = {
  ...{ durationS: 3600, work: { meanS: 0.1, spread: 1 }, podStartS: 20, partitions: 0 },
  ...{ from: 2, to: 20, lagMax: 1000, ageMaxS: 30 },
};
const ramped = (fromS: number, toS: number, low: number, high: number) => (atS: number) =>
  low + (high - low) * Math.min(1, Math.max(0, (atS - fromS) / (toS - fromS)));

export const SHAPES: readonly Shape[] = [
  {
    ...usual,
    name: 'step',
    title: '10/s, from minute 10 to 40 100/s',
    rate: (atS) => (atS >= 600 && atS < 2400 ? 100 : 10),
  },
  {
    ...usual,
    name: 'ramp',
    isGradual: true,
    title: '10/s rising to 150/s within half an hour',
    rate: ramped(600, 2400, 10, 150),
  },
  {
    ...usual,
    name: 'burst',
    title: '20/s, every 10 minutes 150/s for one minute',
    rate: (atS) => (atS % 600 >= 300 && atS % 600 < 360 ? 150 : 20),
  },
  {
    ...usual,
    name: 'wave',
    isGradual: true,
    title: 'a day, jobs of 1 s: 1.5/s at night, 14/s in the afternoon',
    durationS: 86_400,
    work: { meanS: 1, spread: 1 },
    lagMax: 200,
    rate: (atS) => 7.75 - 6.25 * Math.cos((2 * Math.PI * atS) / 86_400),
  },
  {
    ...usual,
    name: 'zero',
    title: 'from none: nothing, and every 20 minutes 40/s for 8 minutes',
    from: 0,
    rate: (atS) => (atS % 1200 >= 300 && atS % 1200 < 780 ? 40 : 0),
  },
  {
    ...usual,
    name: 'slow',
    title: 'jobs of 30 s: 0.1/s, from minute 10 to 40 0.4/s',
    work: { meanS: 30, spread: 0.5 },
    lagMax: 20,
    ageMaxS: 60,
    rate: (atS) => (atS >= 600 && atS < 2400 ? 0.4 : 0.1),
  },
  {
    ...usual,
    name: 'poison',
    title: 'a stream of 12 partitions at 50/s, one of which stands still from minute 10',
    partitions: 12,
    poisonS: 600,
    rate: () => 50,
  },
];

/** Worker-hours of somebody who knows the load of each second beforehand, and has it made at once. */
export function loadHours({ durationS, rate, work, from, to }: Shape): number {
  let seconds = 0;
  for (let atS = 0; atS < durationS; atS++) {
    const load = Math.ceil(rate(atS) * work.meanS - 1e-9);
    seconds += Math.min(to, Math.max(from, load));
  }
  return seconds / 3600;
}
