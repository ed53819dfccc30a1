import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decideAssignment, NOBODY } from '../../dataplane/stream/assignment.ts';

const member = fc.integer({ min: 0, max: 12 }).map((n) => `m${n}`);
const situation = fc.record({
  members: fc.uniqueArray(member, { maxLength: 10 }),
  current: fc.array(fc.oneof(member, fc.constant(NOBODY)), { maxLength: 40 }),
  grown: fc.integer({ min: 0, max: 5 }),
});

const countOf = (assignment: readonly string[], name: string) =>
  assignment.filter((each) => each === name).length;

/** Fewest partitions that have to change hands for a balance: found by trying who gets the odd ones. */
function fewestMoves(members: readonly string[], current: readonly string[], partitions: number): number {
  const base = Math.floor(partitions / members.length);
  const odd = partitions % members.length;
  const gains = members.map((name) => {
    const held = countOf(current, name);
    return { kept: Math.min(held, base), more: held > base ? 1 : 0 };
  });
  const kept = gains.reduce((sum, each) => sum + each.kept, 0);
  const more = gains.reduce((sum, each) => sum + each.more, 0);
  return partitions - kept - Math.min(odd, more);
}

test('[ST21] [A1] every partition has a member, and no member has two more than another', () => {
  fc.assert(
    fc.property(situation, ({ members, current, grown }) => {
      const partitions = current.length + grown;
      const next = decideAssignment(members, partitions, current);
      expect(next).toHaveLength(partitions);
      if (members.length === 0) {
        expect(next).toEqual(new Array(partitions).fill(NOBODY));
        return;
      }
      const counts = members.map((name) => countOf(next, name));
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(partitions);
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    }),
  );
});

test('[ST22] [A2] as few partitions move as a balance allows', () => {
  fc.assert(
    fc.property(situation, ({ members, current, grown }) => {
      if (members.length === 0) return;
      const partitions = current.length + grown;
      const next = decideAssignment(members, partitions, current);
      const moved = next.filter((name, p) => name !== current[p]).length;
      expect(moved).toBe(fewestMoves(members, current, partitions));
      expect(decideAssignment(members, partitions, next)).toEqual(next);
    }),
  );
});

test('[ST22] [A3] the order of the members does not matter', () => {
  fc.assert(
    fc.property(situation, ({ members, current, grown }) => {
      const partitions = current.length + grown;
      const next = decideAssignment(members, partitions, current);
      expect(decideAssignment([...members].reverse(), partitions, current)).toEqual(next);
    }),
  );
});

test('a member that joins takes from those that have most', () => {
  expect(decideAssignment(['a', 'b'], 4, ['a', 'a', 'a', 'a'])).toEqual(['a', 'a', 'b', 'b']);
  expect(decideAssignment(['a', 'b', 'c'], 4, ['a', 'a', 'b', 'b'])).toEqual(['a', 'a', 'b', 'c']);
  expect(decideAssignment(['b', 'c'], 3, ['a', 'b', 'a'])).toEqual(['b', 'b', 'c']);
  expect(decideAssignment([], 2, ['a', 'b'])).toEqual([NOBODY, NOBODY]);
});
