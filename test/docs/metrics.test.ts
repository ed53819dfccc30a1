// docs/reference/metrics.md and /metrics say the same, both ways.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createMetrics } from '../../dataplane/telemetry/metrics.ts';
import { FakeFabric } from '../api/fake-fabric.ts';

const page = readFileSync(new URL('../../docs/reference/metrics.md', import.meta.url), 'utf8');

test('every metric is documented with its type and help, and nothing else is', async () => {
  const text = await createMetrics(new FakeFabric(), { certificateEndsMs: () => 0 }).text();
  const of = (what: string) =>
    new Map(
      Array.from(
        text.matchAll(new RegExp(`^# ${what} (flowmesh_\\S+) (.*)$`, 'gm')),
        ([, name = '', rest = '']) => [name, rest],
      ),
    );
  const types = of('TYPE');
  const served = Array.from(of('HELP'), ([name, help]) => `${name} | ${types.get(name)} | ${help}`);
  const rows = page.matchAll(/^\| `(flowmesh_\w+)(?:\{[\w, ]+\})?` \| (\w+) \| (.*) \|$/gm);
  const documented = Array.from(rows, ([, name, type, help]) => `${name} | ${type} | ${help}`);
  expect(documented.sort()).toEqual(served.sort());
});
