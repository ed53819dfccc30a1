// What a cluster cannot do is skipped with a reason, and nothing else is skipped.
import { expect, test } from 'vitest';
import { kindDriver } from '../../e2e/drivers/kind.ts';
import { noDriver } from '../../e2e/drivers/none.ts';
import { rootlessDriver } from '../../e2e/drivers/rootless.ts';
import { reasonToSkip } from '../../e2e/specs/support/spec.ts';

const observer = { log: () => {}, stage: () => {} };
const kind = kindDriver(observer).abilities;
const rootless = rootlessDriver(observer, 'local: not root').abilities;
const none = noDriver(observer, 'rootless: no go').abilities;

test('a spec runs where nothing that it needs is lacking', () => {
  expect(reasonToSkip([], kind)).toBeUndefined();
  expect(reasonToSkip(['needs:kubelet', 'needs:pv'], kind)).toBeUndefined();
  expect(reasonToSkip(['process-ok'], rootless)).toBeUndefined();
});

test('a spec that is skipped says why', () => {
  expect(reasonToSkip(['needs:kubelet', 'needs:expansion'], kind)).toBe(
    'needs:expansion: the volumes of kind do not grow',
  );
  expect(reasonToSkip([], rootless)).toBe('no node here; local: not root');
  expect(reasonToSkip(['needs:kubelet'], rootless)).toBe('no node here; local: not root');
  expect(reasonToSkip(['process-ok'], none)).toBe('no cluster here; rootless: no go');
});
