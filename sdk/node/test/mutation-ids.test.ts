import { expect, test } from 'vitest';
import { MutationIds } from '../src/mutation-ids.ts';

/** As many as the server remembers behind the newest. */
const REMEMBERED = 1024;

test('[U1] a call that hangs never falls out of what the server remembers', () => {
  const ids = new MutationIds('p.u');
  const hanging = ids.next(undefined);
  let newest = hanging;
  for (let i = 0; i < 5000; i++) {
    newest = ids.next(undefined);
    if (newest.producerId === hanging.producerId) {
      expect((newest.seq as number) - (hanging.seq as number)).toBeLessThan(REMEMBERED);
    }
    ids.settled(newest);
  }
  expect(newest.producerId).not.toBe(hanging.producerId);
  // The late end of the one that hung is no concern of the new id.
  ids.settled(hanging);
  expect(ids.next(undefined)).toEqual({ producerId: newest.producerId, seq: (newest.seq as number) + 1 });
});

test('an id that keeps up is used for ever, and no pair twice', () => {
  const ids = new MutationIds('p.u');
  const seen = new Set<string>();
  for (let i = 0; i < 5000; i++) {
    const next = ids.next(undefined);
    expect(next.producerId).toBe('p.u');
    seen.add(`${next.producerId}:${next.seq}`);
    ids.settled(next);
  }
  expect(seen.size).toBe(5000);
});
