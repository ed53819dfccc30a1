// What a person sees of the job: a bar and a rate for each step, the leaderboard, and whether it is right.
import { Presets, SingleBar } from 'cli-progress';
import picocolors from 'picocolors';
import { DELAYED_MINUTES, type Tally } from './dataset.ts';

const { bold, dim, green, red, cyan } = picocolors;
const number = (value: number) => value.toLocaleString('en-US');

export interface Step {
  title: string;
  unit: string;
  total: number;
}

/** Runs a step with a progress bar (on a terminal) and prints its rate. */
export async function timed<T>(
  { title, unit, total }: Step,
  run: (onProgress: (done: number) => void) => Promise<T>,
) {
  const name = title.padEnd(42);
  const bar = new SingleBar(
    {
      format: `  ${name} ${cyan('{bar}')} {percentage}%`,
      clearOnComplete: true,
      hideCursor: true,
      barsize: 30,
    },
    Presets.shades_classic,
  );
  // The bar goes to standard error and is silent where nobody looks.
  if (process.stderr.isTTY) bar.start(total, 0);
  const startedMs = performance.now();
  try {
    return await run((done) => bar.update(done));
  } finally {
    bar.stop();
    const seconds = (performance.now() - startedMs) / 1000;
    const rate = number(Math.round(total / Math.max(seconds, 0.001)));
    const amount = `${number(total).padStart(9)} ${unit.padEnd(8)}`;
    console.log(`  ${name}${amount} ${seconds.toFixed(1).padStart(5)} s  ${rate.padStart(9)}/s`);
  }
}

export type Scored = readonly { member: string; score: number }[];

export function printLeaderboard(leaderboard: Scored, tallies: ReadonlyMap<string, Tally>, rows = 10): void {
  console.log(
    `\n${bold('Where most time was lost')} ${dim(`(flights more than ${DELAYED_MINUTES} minutes late)`)}\n`,
  );
  console.log(dim('     HOUR AND DISTANCE   FLIGHTS     MINUTES   AVERAGE'));
  for (const [index, { member, score }] of leaderboard.slice(0, rows).entries()) {
    const flights = tallies.get(member)?.flights ?? 0;
    const place = `${index + 1}.`.padStart(4);
    const average = `${(score / Math.max(1, flights)).toFixed(1)} min`;
    const sums = `${number(flights).padStart(9)} ${number(score).padStart(11)}`;
    console.log(`${place} ${member.padEnd(18)} ${sums} ${average.padStart(9)}`);
  }
}

/** Every difference between what the keys say and what the file says; none: it is right. */
export function differences(
  counted: ReadonlyMap<string, Tally>,
  leaderboard: Scored,
  expected: ReadonlyMap<string, Tally>,
): string[] {
  const found: string[] = [];
  for (const group of new Set([...counted.keys(), ...expected.keys()])) {
    const is = counted.get(group) ?? { flights: 0, minutes: 0 };
    const should = expected.get(group) ?? { flights: 0, minutes: 0 };
    if (is.flights !== should.flights)
      found.push(`${group}: ${is.flights} flights, should be ${should.flights}`);
    if (is.minutes !== should.minutes)
      found.push(`${group}: ${is.minutes} minutes, should be ${should.minutes}`);
  }
  const scores = new Map(leaderboard.map(({ member, score }) => [member, score]));
  for (const [group, { minutes }] of expected) {
    const score = scores.get(group);
    if (score !== minutes) found.push(`${group}: ${score} on the leaderboard, should be ${minutes}`);
  }
  if (scores.size !== expected.size)
    found.push(`${scores.size} groups on the leaderboard, should be ${expected.size}`);
  const isSorted = leaderboard.every(
    ({ score }, index) => index === 0 || score <= (leaderboard[index - 1]?.score ?? 0),
  );
  if (!isSorted) found.push('the leaderboard is not in order');
  return found;
}

export function printVerdict(found: readonly string[], expected: ReadonlyMap<string, Tally>): void {
  if (found.length === 0) {
    const flights = [...expected.values()].reduce((sum, each) => sum + each.flights, 0);
    const minutes = [...expected.values()].reduce((sum, each) => sum + each.minutes, 0);
    const what = `${expected.size} groups, ${number(flights)} delayed flights, ${number(minutes)} minutes`;
    console.log(`\n${green('✔')} exactly what a direct computation over the file gives: ${what}`);
    return;
  }
  console.log(`\n${red('✘')} not what a direct computation over the file gives:`);
  for (const line of found.slice(0, 10)) console.log(`  ${line}`);
  if (found.length > 10) console.log(`  and ${found.length - 10} more`);
}
