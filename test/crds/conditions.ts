// Random conditions of basedOn, right and wrong, and the manifests that hold them.
import fc from 'fast-check';
import type { Scaled } from '../../crds/based-on.ts';

const SIGNALS = [
  'message_age',
  'processing_time',
  'throughput',
  'queue_lag',
  'stream_lag',
  'throughputs',
  'lag',
];
const NUMBERS = [
  ...['1', '10_000', '1__0', '1_', '007', '0', '0.5', '1.5', '999999999999999', '1000000000000000'],
  ...[
    '30s',
    '1m30s',
    '30s1m',
    '1d12h',
    '0s',
    '1.5h',
    '99999d',
    '100000d',
    '1_000ms',
    '500ms',
    '5M',
    '30',
    's',
  ],
  ...['5/s', '0.5/s', '0.0005/s', '0/s', '00/s', '0.0/m', '30/m', '1_000.125/h', '5/d', '999999999/s', '5%'],
  ...['1e3', '∞', '-1', '1 000', ''],
];

/** Mostly about the signals of `kind`, with a number that fits now and then. */
export function anyCondition(kind: Scaled): fc.Arbitrary<string> {
  const lag = kind === 'Queue' ? 'queue_lag' : 'stream_lag';
  const right = fc.constantFrom(
    ...[`${lag} > 10_000`, `${lag}>=5`, 'message_age > 1h30m', 'processing_time > 7ms'],
    ...['throughput < 5/s', 'throughput <= 0.25/m', 'message_age  >  9d'],
  );
  const mixed = fc
    .tuple(
      fc.constantFrom(...SIGNALS),
      fc.constantFrom('', ' ', '  ', '\t'),
      fc.constantFrom('>', '>=', '<', '<=', '=', '=>'),
      fc.constantFrom('', ' '),
      fc.constantFrom(...NUMBERS),
    )
    .map((parts) => parts.join(''));
  const text = fc.string({ minLength: 1, maxLength: 130 });
  return fc.oneof(
    { arbitrary: right, weight: 5 },
    { arbitrary: mixed, weight: 4 },
    { arbitrary: text, weight: 1 },
  );
}

export function manifestWith(kind: Scaled, basedOn: readonly string[]): Record<string, unknown> {
  const scaling = { targetRef: { kind: 'Deployment', name: 'workers' }, scaleTo: 9, basedOn };
  const spec = kind === 'Queue' ? { scaling } : { consumerGroups: [{ name: 'billing', scaling }] };
  return { apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name: 'x' }, spec };
}
