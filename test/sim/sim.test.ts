// Fixed seeds and a few fresh ones of the whole data plane under faults (run.ts). More of them:
// `npm run test:sim -- --seeds 1000`.
import { expect, test } from 'vitest';
import { minimumsMissed, type Report, run, total } from './run.ts';

const FIXED = [1, 2, 6, 7, 8, 13];
const FRESH = 2;
/** Of the whole; on a machine of one's own a run takes half a second. */
const TIMEOUT_MS = 120_000;

const told = ({ seed, shards, violation, lastEvents }: Report): string =>
  violation === null
    ? ''
    : [...lastEvents.slice(-40), `seed ${seed}, ${shards} shards: ${violation}`].join('\n');

test(
  'a seed gives the same run again, to the last byte',
  async () => {
    const [first, second] = [await run(42), await run(42)];
    expect(second.digest).toBe(first.digest);
    expect(second.counts).toEqual(first.counts);
    const other = await run(43);
    expect(other.digest).not.toBe(first.digest);
  },
  TIMEOUT_MS,
);

test(
  'fixed seeds keep every promise, and much happens in them',
  async () => {
    const reports: Report[] = [];
    for (const seed of FIXED) reports.push(await run(seed));
    expect(reports.map(told).filter(Boolean)).toEqual([]);
    expect(minimumsMissed(total(reports), reports.length)).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  'fresh seeds keep every promise',
  async () => {
    const first = Math.floor(Date.now() / 1000) * 1000;
    for (let seed = first; seed < first + FRESH; seed++) expect(told(await run(seed))).toBe('');
  },
  TIMEOUT_MS,
);
