// Random specs out of a definition: mostly right, now and then wrong in every way that a schema knows.
import fc from 'fast-check';
import { holds, isTransition } from '../../crds/cel.ts';
import type { Structural } from '../../crds/definitions.ts';

const words = [
  ...['a', 'main', 'a-1', 'a.b', 'A_b', '{tag}:x', '-', 'a b', '1', '0', '20', '007', 'true'],
  ...[
    '500ms',
    '90s',
    '1h30m',
    '12h',
    '13h',
    '7d',
    '8d',
    '1d12h',
    '365d1s',
    '0s',
    '1h1d',
    '1.5h',
    '99999d',
    '5M',
  ],
  ...['1Gi', '20G', '512Mi', '4096', '1GB', '999Ti', '9999Ti', '0.5Gi', '500m'],
  ...['50/s', '1000000/s', '1000001/s', '5/d', '0/s'],
  ...['queue_lag > 10_000', 'stream_lag > 1', 'message_age >= 30s', 'throughput < 0.5/s', 'x<1%', '> 1'],
  ...['0 3 * * *', '*/5 0-3 1,2 * MON#1', '0 3 * *', ' 0 3 * * * '],
  ...['UTC', 'Europe/Berlin', 'Etc/GMT+1', 'Europe Berlin'],
  ...['nats://nats:4222', 'http://x', `sha256:${'0'.repeat(64)}`, 'sha256:1', 'v1.2', 'registry:5000/a/b'],
  ...['', 'x'.repeat(64), 'x'.repeat(256)],
];

const rarely = <T>(usual: fc.Arbitrary<T>, wrong: fc.Arbitrary<unknown>, of = 40): fc.Arbitrary<unknown> =>
  fc.oneof({ arbitrary: usual, weight: of - 1 }, { arbitrary: wrong, weight: 1 });

const other = fc.constantFrom<unknown>('text', 7, 1.5, true, [], {}, ['a'], { a: 1 });

export function anyValue(schema: Structural): fc.Arbitrary<unknown> {
  return rarely(usualValue(schema), other, 100);
}

function usualValue(schema: Structural): fc.Arbitrary<unknown> {
  if (schema['x-kubernetes-int-or-string']) return fc.constantFrom<unknown>(1, '500m', '1Gi');
  if (schema.enum) return rarely(fc.constantFrom(...schema.enum), fc.constantFrom('none', 'fixed', 'X'));
  switch (schema.type) {
    case 'string':
      return text(schema);
    case 'integer': {
      const { minimum = 0, maximum = 2 ** 31 - 1 } = schema;
      const inside = fc.constantFrom(
        minimum,
        Math.min(maximum, minimum + 1),
        Math.min(maximum, 7080),
        maximum,
      );
      return rarely(inside, fc.constantFrom(minimum - 1, maximum + 1, minimum + 0.5));
    }
    case 'boolean':
      return fc.boolean();
    case 'array':
      return fc.array(anyValue(schema.items ?? {}), { maxLength: 3 });
    case 'object':
      return object(schema);
    default:
      return fc.constantFrom<unknown>('string', { type: 'string' });
  }
}

function text(schema: Structural): fc.Arbitrary<unknown> {
  const rules = (schema['x-kubernetes-validations'] ?? []).filter(({ rule }) => !isTransition(rule));
  const { minLength = 0, maxLength = 1000 } = schema;
  const fits = words.filter(
    (word) =>
      word.length >= minLength && word.length <= maxLength && rules.every(({ rule }) => holds(rule, word)),
  );
  return rarely(fc.constantFrom(...fits), fc.constantFrom(...words), 20);
}

function object(schema: Structural): fc.Arbitrary<unknown> {
  const { properties, additionalProperties, required = [] } = schema;
  if (additionalProperties) {
    return fc.dictionary(fc.constantFrom('a', 'b', 'c'), usualValue(additionalProperties), { maxKeys: 3 });
  }
  const entries = Object.entries(properties ?? {}).map(([name, field]) => {
    const isRequired = required.includes(name);
    const present = anyValue(field).map((value): [string, unknown][] => [[name, value]]);
    const absent = fc.constant<[string, unknown][]>([]);
    const weights = isRequired ? ([60, 1] as const) : ([1, 2] as const);
    return fc.oneof({ arbitrary: present, weight: weights[0] }, { arbitrary: absent, weight: weights[1] });
  });
  const stray = rarely(fc.constant([]), fc.constant([['stray', 1]]), 100) as fc.Arbitrary<
    [string, unknown][]
  >;
  return fc.tuple(stray, ...entries).map((parts) => Object.fromEntries(parts.flat()));
}
