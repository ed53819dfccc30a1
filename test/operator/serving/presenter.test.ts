// When a replica presents which certificate.
import { expect, test } from 'vitest';
import { Presenter } from '../../../operator/serving/presenter.ts';
import { issue } from '../admission/support.ts';
import { TestRuntime, testLog } from '../kube/support.ts';

function setUp() {
  const runtime = new TestRuntime();
  const first = issue(runtime.wallMs());
  const second = issue(runtime.wallMs());
  const presented: string[] = [];
  const names = new Map(
    [first, second].map(({ leaf }, index) => [leaf['tls.crt'], ['first', 'second'][index]]),
  );
  const presenter = new Presenter({
    ...{ name: 'webhook', runtime, log: testLog(), settleMs: 5_000 },
    present: ({ cert }) => presented.push(names.get(cert) ?? cert),
  });
  const bundle = (...of: { leaf: Readonly<Record<string, string | undefined>> }[]) =>
    of.map(({ leaf }) => leaf['ca.crt'] ?? '').join('');
  return { runtime, first, second, presented, presenter, bundle };
}

test('[P1] the first is presented at once, trusted or not', () => {
  const { presenter, first, presented } = setUp();
  expect(presenter.isValid).toBe(false);
  presenter.follow(undefined, ['']);
  expect(presented).toEqual([]);
  presenter.follow(first.leaf, ['']);
  expect(presented).toEqual(['first']);
  expect(presenter.isValid).toBe(true);
  presenter.follow(first.leaf, ['']);
  expect(presented).toEqual(['first']);
});

test('[P2] another one waits for the trust of every entry, and a little more', async () => {
  const { presenter, first, second, presented, bundle, runtime } = setUp();
  presenter.follow(first.leaf, [bundle(first)]);
  presenter.follow(second.leaf, [bundle(first)]);
  await runtime.pass(3_600_000);
  presenter.follow(second.leaf, [bundle(first, second), bundle(first)]);
  await runtime.pass(3_600_000);
  expect(presented).toEqual(['first']);
  const both = bundle(first, second);
  presenter.follow(second.leaf, [both, both]);
  await runtime.pass(4_999);
  // Trust that goes again starts anew.
  presenter.follow(second.leaf, [both, bundle(first)]);
  await runtime.pass(5_000);
  presenter.follow(second.leaf, [both, both]);
  await runtime.pass(4_999);
  expect(presented).toEqual(['first']);
  await runtime.pass(1);
  expect(presented).toEqual(['first', 'second']);
});

test('[P2] without a configuration nobody has to trust', () => {
  const { presenter, first, second, presented } = setUp();
  presenter.follow(first.leaf, []);
  presenter.follow(second.leaf, []);
  expect(presented).toEqual(['first', 'second']);
});

test('[P1] what has ended gives way to what is there, trusted or not', async () => {
  const { presenter, first, presented, bundle, runtime } = setUp();
  presenter.follow(first.leaf, [bundle(first)]);
  const until = (presenter.notAfterMs ?? 0) - runtime.wallMs();
  await runtime.pass(until - 60_000);
  const third = issue(runtime.wallMs());
  presenter.follow(third.leaf, [bundle(first)]);
  await runtime.pass(59_999);
  expect(presented).toEqual(['first']);
  await runtime.pass(2);
  expect(presented).toEqual(['first', third.leaf['tls.crt']]);
});

test('[P3] what is damaged, of another key or ended is not presented', async () => {
  const { presenter, first, second, presented, runtime } = setUp();
  const ended = issue(runtime.wallMs() - 100 * 86_400_000);
  for (const leaf of [
    {},
    { ...first.leaf, 'tls.key': second.leaf['tls.key'] },
    { ...first.leaf, 'tls.crt': 'x' },
    ended.leaf,
  ]) {
    presenter.follow(leaf, []);
  }
  expect(presented).toEqual([]);
  expect(presenter.isValid).toBe(false);
});

test('one that is taken back before its time is not presented, and stopping leaves no timer', async () => {
  const { presenter, first, second, presented, bundle, runtime } = setUp();
  const both = bundle(first, second);
  presenter.follow(first.leaf, [both]);
  presenter.follow(second.leaf, [both]);
  presenter.follow(first.leaf, [both]);
  await runtime.pass(3_600_000);
  expect(presented).toEqual(['first']);
  presenter.follow(second.leaf, [both]);
  presenter.stop();
  expect(runtime.timerCount).toBe(0);
});
