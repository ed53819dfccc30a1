// Every rule of scripts/tidy.ts against a bad sample and its good neighbour.

import { expect, test } from 'vitest';
import { type House, tidy } from '../../scripts/tidy.ts';

const house: House = {
  packages: { '': ['pino', 'vitest', '@flowmesh/client'], 'sdk/node': ['@flowmesh/protocol'], proto: [] },
  ratchet: {},
};

const rules = (path: string, text: string, over: Partial<House> = {}) =>
  tidy([{ path, text }], { ...house, ...over }).map(({ rule, line }) => `${rule}:${line}`);

const importing = (specifier: string) => `// head\nimport { x } from '${specifier}';\n`;

test.each([
  ['dataplane/journal/a.ts', '../shard/b.ts'],
  ['dataplane/storage/a.ts', '../kv/b.ts'],
  ['dataplane/shard/a.ts', '../kv/b.ts'],
  ['dataplane/kv/a.ts', '../api/grpc/b.ts'],
  ['dataplane/kv/a.ts', '../main.ts'],
  ['dataplane/runtime/a.ts', '../storage/b.ts'],
  ['dataplane/api/grpc/a.ts', '../../../operator/kube/b.ts'],
  ['operator/controllers/a.ts', '../../dataplane/shard/b.ts'],
  ['operator/kube/a.ts', '../../crds/b.ts'],
  ['operator/kube/a.ts', '../controllers/b.ts'],
  ['operator/resources/a.ts', '../kube/b.ts'],
  ['sdk/node/src/a.ts', '../../../dataplane/kv/b.ts'],
  ['cli/a.ts', '../dataplane/kv/b.ts'],
  ['proto/src/a.ts', '../../crds/b.ts'],
  ['proto/src/a.ts', '@flowmesh/client'],
  ['dataplane/kv/a.ts', '@flowmesh/client'],
  ['sdk/node/src/a.ts', 'pino'],
  ['dataplane/kv/a.ts', 'left-pad'],
  ['test/a.test.ts', 'left-pad/deep'],
])('[T1] %s must not import %s', (path, specifier) => {
  expect(rules(path, importing(specifier))).toEqual(['T1:2']);
});

test.each([
  ['dataplane/shard/a.ts', '../journal/b.ts'],
  ['dataplane/kv/a.ts', '../shard/b.ts'],
  ['dataplane/api/grpc/a.ts', '../../txn/b.ts'],
  ['dataplane/kv/a.ts', '../runtime.ts'],
  ['dataplane/main.ts', './api/http/b.ts'],
  ['cli/a.ts', '../dataplane/main.ts'],
  ['cli/a.ts', '@flowmesh/client'],
  ['operator/controllers/a.ts', '../../crds/b.ts'],
  ['operator/controllers/a.ts', '../kube/b.ts'],
  ['operator/controllers/a.ts', '../resources/b.ts'],
  ['sdk/node/src/a.ts', '@flowmesh/protocol/gen/services.js'],
  ['sdk/node/test/a.test.ts', 'vitest'],
  ['sdk/node/test/a.test.ts', '../../../dataplane/main.ts'],
  ['test/model/a.test.ts', '../../dataplane/kv/b.ts'],
  ['bench/a.ts', '../dataplane/shard/b.ts'],
  ['dataplane/kv/a.ts', 'node:assert'],
])('[T1] %s may import %s', (path, specifier) => {
  expect(rules(path, importing(specifier))).toEqual([]);
});

test('[T1] every form of an import is seen', () => {
  const forms = [
    "import type { A } from '../api/a.ts';",
    "import {\n  a,\n  b,\n} from '../api/a.ts';",
    "export * from '../api/a.ts';",
    "import '../api/a.ts';",
    "const a = await import('../api/a.ts');",
  ];
  for (const form of forms) expect(rules('dataplane/kv/a.ts', form), form).toEqual(['T1:1']);
});

test('[T1] a room without a place is refused', () => {
  expect(rules('dataplane/attic/a.ts', '')).toEqual(['T1:1']);
});

test.each([
  'Date.now()',
  'new Date()',
  'performance.now()',
  'Math.random()',
  'crypto.randomUUID()',
  'setTimeout(f, 1)',
  'setInterval(f, 1)',
  'globalThis.setTimeout(f, 1)',
  'process.env.HOME',
  "console.log('x')",
])('[T2] %s is refused where decisions are pure', (code) => {
  for (const room of ['journal', 'storage', 'shard', 'kv', 'queue', 'stream', 'txn']) {
    expect(rules(`dataplane/${room}/a.ts`, `export const a = () => ${code};\n`)).toEqual(['T2:1']);
  }
  expect(rules('dataplane/runtime.ts', code)).toEqual([]);
  expect(rules('dataplane/main.ts', code)).toEqual([]);
  expect(rules('bench/jobs.ts', code)).toEqual([]);
});

test('[T2] names what to use instead, and knows imported timers', () => {
  const text = "import { setTimeout as wait } from 'node:timers/promises';\n";
  const findings = tidy([{ path: 'dataplane/kv/a.ts', text }], house);
  expect(findings.map(({ message }) => message)).toContain(
    'node:timers is not for this file: use the timers of the Runtime argument',
  );
});

test('[T2] adapters may wait, but not read the environment or the clock', () => {
  expect(rules('dataplane/api/http/a.ts', 'setTimeout(close, 5000);')).toEqual([]);
  expect(rules('dataplane/api/http/a.ts', 'Date.now();\nprocess.env.PORT;')).toEqual(['T2:1', 'T2:2']);
});

test('[T2] comments, strings and methods of a runtime are not code', () => {
  const text =
    "// Date.now()\nthrow new Error('Math.random');\nruntime.setTimeout(f, 1); /* console.log */\n";
  expect(rules('dataplane/kv/a.ts', text)).toEqual([]);
});

test('[T3] more than 400 lines need an entry that only shrinks', () => {
  const path = 'dataplane/kv/a.ts';
  const text = 'x();\n'.repeat(401);
  const entry = (lines: number, reason = 'one grammar, one page') => ({
    ratchet: { [path]: { lines, reason } },
  });
  expect(rules(path, 'x();\n'.repeat(400))).toEqual([]);
  expect(rules(path, text)).toEqual(['T3:400']);
  expect(rules(path, text, entry(401))).toEqual([]);
  expect(rules(path, text, entry(450))).toEqual(['T3:1']);
  expect(rules(path, `// Generated by a script.\n${text}`)).toEqual([]);
  expect(rules(path, text, entry(401, ''))).toEqual(['T3:1']);
  expect(rules(path, 'x();\n', entry(401))).toEqual(['T3:1']);
});

test('[T4] leftovers of an edit are refused', () => {
  expect(rules('cli/a.ts', `// ${'FIX'}${'ME'} later\n`)).toEqual(['T4:1']);
  for (const call of ['test', 'it', 'describe', 'test.concurrent']) {
    expect(rules('test/a.test.ts', `${call}${'.only'}('x', () => {});\n`)).toEqual(['T4:1']);
  }
  expect(rules('test/a.test.ts', 'fc.only;\n')).toEqual([]);
});

test('[T5] 110 columns, but an address may be longer', () => {
  expect(rules('cli/a.ts', `// ${'x'.repeat(107)}\n`)).toEqual([]);
  expect(rules('cli/a.ts', `ok();\n// ${'x'.repeat(108)}\n`)).toEqual(['T5:2']);
  expect(rules('cli/a.ts', `// https://example.org/${'x'.repeat(108)}\n`)).toEqual([]);
});
