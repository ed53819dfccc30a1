// Which member of a group gets which partition. Pure.
//   A1. Balanced: no member has two more partitions than another.
//   A2. Sticky: as few partitions move as A1 allows.
//   A3. The same input gives the same answer, whatever the order of the members.

/** Nobody: no owner yet, or there are no members. */
export const NOBODY = '';

/**
 * The member of each partition. `current[p]` is who has partition p or will have it; anybody who is not a
 * member any more counts as nobody.
 */
export function decideAssignment(
  members: readonly string[],
  partitions: number,
  current: readonly string[],
): string[] {
  const next: string[] = new Array(partitions).fill(NOBODY);
  if (members.length === 0) return next;
  const held = new Map<string, number[]>();
  for (const member of [...members].sort()) held.set(member, []);
  for (let p = 0; p < partitions; p++) held.get(current[p] ?? NOBODY)?.push(p);

  const quotas = quotasOf(held, partitions);
  for (const [member, own] of held) {
    // The highest numbers go: any rule will do, as long as it is always the same one (A3).
    for (const p of own.slice(0, quotas.get(member))) next[p] = member;
    if (own.length > (quotas.get(member) ?? 0)) own.length = quotas.get(member) ?? 0;
  }
  const hungry = [...held].filter(([member, own]) => own.length < (quotas.get(member) ?? 0));
  for (let p = 0, i = 0; p < partitions && hungry.length > 0; p++) {
    if (next[p] !== NOBODY) continue;
    const [member, own] = hungry[i % hungry.length] as [string, number[]];
    next[p] = member;
    own.push(p);
    if (own.length === quotas.get(member)) hungry.splice(i % hungry.length, 1);
    else i++;
  }
  return next;
}

/** How many each member may have. Who has most now may keep the odd one: that moves fewest (A2). */
function quotasOf(held: ReadonlyMap<string, readonly number[]>, partitions: number): Map<string, number> {
  const base = Math.floor(partitions / held.size);
  let odd = partitions % held.size;
  const byLoad = [...held].sort(([, a], [, b]) => b.length - a.length);
  return new Map(byLoad.map(([member]) => [member, odd-- > 0 ? base + 1 : base]));
}
