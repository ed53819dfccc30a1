// docs/autoscaling.md says what the law does: every reason, and its figures.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { formatDuration } from '../../crds/values.ts';
import { LAW } from '../../dataplane/scaling/law.ts';
import { REASONS } from '../../dataplane/scaling/signals.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/autoscaling.md'), 'utf8');
const text = page.replaceAll(/\s+/g, ' ');

test('each reason has a row, and each row is a reason', () => {
  const rows = page.slice(page.indexOf('| reason |')).matchAll(/^\| `(\w+)` \|/gm);
  const inTable = [...rows].map(([, word]) => word).filter((word) => /^[A-Z]/.test(word ?? ''));
  expect(inTable.sort()).toEqual([...REASONS].sort());
});

test('the figures are those of the law', () => {
  expect(text).toContain(`one job takes a worker, x ${LAW.headRoom}.`);
  expect(LAW.ageShare).toBeCloseTo(1 / 3);
  expect(text).toContain('within a third of `message_age`');
  expect(text).toContain(`beyond \`queue_lag\` within ${formatDuration(LAW.lagWindowMs)},`);
  const [settle, catchUp] = [LAW.settleMs, LAW.catchUpSettleMs].map(formatDuration);
  expect(text).toContain(`called for in the last ${settle}, or arrivals and backlog in the last ${catchUp}.`);
  expect(text).toContain(
    `who is there or comes back within ${formatDuration(LAW.returnMs)} counts as needed for ${settle}.`,
  );
  expect(LAW.coldGrowth).toBe(1.5);
});
