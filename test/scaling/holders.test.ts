// Who is busy, and for how long, beside a model that counts from scratch.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Holder, Holders } from '../../dataplane/queue/holders.ts';

test('one entry for each worker that is connected or holds jobs, whoever comes and goes', () => {
  const step = fc.record({
    what: fc.constantFrom('take', 'give', 'came', 'left'),
    who: fc.constantFrom('pod-a', 'pod-b', ''),
    count: fc.integer({ min: 1, max: 3 }),
    afterMs: fc.integer({ min: 0, max: 5 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const holders = new Holders();
      const leases: { who: string; holder: Holder }[] = [];
      const connected: string[] = [];
      let nowMs = 1000;
      let busyMs = 0;
      holders.busyMs(nowMs);
      for (const { what, who, count, afterMs } of steps) {
        busyMs += afterMs * new Set(leases.map((each) => each.who)).size;
        nowMs += afterMs;
        holders.nowMs = nowMs;
        if (what === 'take') {
          const holder = holders.of(who);
          holders.take(holder, count);
          for (let i = 0; i < count; i++) leases.push({ who, holder });
        } else if (what === 'give') {
          const lease = leases.shift();
          if (lease !== undefined) holders.give(lease.holder, 1);
        } else if (what === 'came') {
          holders.came(who);
          connected.push(who);
        } else if (connected.includes(who)) {
          holders.left(who);
          connected.splice(connected.indexOf(who), 1);
        }
        const busy = new Set(leases.map((each) => each.who));
        expect(holders.busy).toBe(busy.size);
        expect(holders.size).toBe(new Set([...busy, ...connected]).size);
        expect(holders.busyMs(nowMs)).toBe(busyMs);
        for (const { worker, leased } of holders.all)
          expect(leased).toBe(leases.filter((each) => each.who === worker).length);
      }
    }),
  );
});

test('a lease that is taken back after its worker was let go is its worker again', () => {
  const holders = new Holders();
  const holder = holders.of('w');
  holders.take(holder, 1);
  holders.give(holder, 1);
  expect(holders.size).toBe(0);
  holders.take(holder, 1);
  expect([holders.size, holders.busy]).toEqual([1, 1]);
});
