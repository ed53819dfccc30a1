// Types, lint and format, drift of generated files, tidy: side by side, every report printed, one verdict.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';

const repository = resolve(import.meta.dirname, '..');
const bin = (name: string) => resolve(repository, 'node_modules/.bin', name);

const checks = [
  { name: 'types', command: [bin('tsc'), '--pretty', 'false'] },
  { name: 'lint', command: [bin('biome'), 'ci', '--colors=off', '.'] },
  { name: 'drift', command: [process.execPath, '--conditions=flowmesh-source', 'scripts/drift.ts'] },
  { name: 'crds', command: [process.execPath, '--conditions=flowmesh-source', 'scripts/crds.ts'] },
  { name: 'tidy', command: [process.execPath, 'scripts/tidy.ts'] },
];

const verdicts = await Promise.all(checks.map(run));
if (verdicts.includes(false)) process.exitCode = 1;

async function run({ name, command: [file = '', ...args] }: (typeof checks)[number]): Promise<boolean> {
  const startedMs = performance.now();
  const child = spawn(file, args, { cwd: repository, stdio: ['ignore', 'pipe', 'pipe'] });
  const [[code], output, errors] = await Promise.all([
    once(child, 'close'),
    text(child.stdout),
    text(child.stderr),
  ]);
  const ok = code === 0;
  if (!ok) process.stdout.write(output + errors);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)\n`);
  return ok;
}
