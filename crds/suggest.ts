// "Did you mean": the nearest of the names that would have been right.

/** The candidate that is a typing mistake away from `name`, if there is one. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  // Longer names are no typing mistakes of ours, and the distance below is quadratic.
  if (name.length > 64) return undefined;
  const wanted = fold(name);
  let best: string | undefined;
  // One slip in a short name, more in longer ones.
  let bestDistance = (wanted.length < 5 ? 1 : Math.max(2, Math.floor(wanted.length / 3))) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, fold(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Case, `-` and `_` are the commonest slips: they count as nothing. */
const fold = (name: string) => name.toLowerCase().replaceAll(/[-_]/g, '');

/** Insertions, deletions, replacements and swaps of neighbours, each 1 (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const replaced = (last[j - 1] ?? 0) + (same ? 0 : 1);
      const inserted = (row[j - 1] ?? 0) + 1;
      const deleted = (last[j] ?? 0) + 1;
      const swap = swapped ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(replaced, inserted, deleted, swap));
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
