// Fails when proto/gen or docs/reference/cli.md is not what `npm run generate` makes: names and bytes.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { cliReferencePath, generate, generateCliReference, lintProtos } from './generate.ts';

export function driftBetween(committedDir: string, freshDir: string): string[] {
  const committed = new Set(readdirSync(committedDir));
  const fresh = new Set(readdirSync(freshDir));
  return [...committed.union(fresh)].sort().flatMap((name) => {
    if (!fresh.has(name)) return [`${name} is not generated any more`];
    if (!committed.has(name)) return [`${name} is missing`];
    const same = readFileSync(join(committedDir, name)).equals(readFileSync(join(freshDir, name)));
    return same ? [] : [`${name} differs`];
  });
}

if (import.meta.main) {
  const freshDir = mkdtempSync(join(tmpdir(), 'flowmesh-gen-'));
  try {
    lintProtos();
    generate(freshDir);
    const inProtocol = driftBetween(resolve(import.meta.dirname, '../proto/gen'), freshDir);
    const reference = existsSync(cliReferencePath) ? readFileSync(cliReferencePath, 'utf8') : '';
    const isFresh = reference === (await generateCliReference());
    const drift = [
      ...inProtocol.map((line) => `proto/gen/${line}`),
      ...(isFresh ? [] : ['docs/reference/cli.md differs']),
    ];
    for (const line of drift) console.error(`${line}: run npm run generate and commit the result`);
    if (drift.length > 0) process.exitCode = 1;
  } finally {
    rmSync(freshDir, { recursive: true });
  }
}
