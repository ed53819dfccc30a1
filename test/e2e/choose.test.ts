// Which driver is taken, and what is said of those that are not.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { missingPrograms } from '../../e2e/build/machine.ts';
import { type Candidate, firstThatFits } from '../../e2e/drivers/choose.ts';

const candidate = (name: Candidate['name'], reason?: string): Candidate => ({
  name,
  obstacle: async () => reason,
});

test('the first one that nothing stands in the way of; the reasons of the others are kept', async () => {
  const fitting = [candidate('kind', 'no docker'), candidate('local'), candidate('rootless')];
  expect(await firstThatFits(fitting)).toEqual({ name: 'local', because: 'kind: no docker' });
  expect(await firstThatFits([candidate('kind')])).toEqual({ name: 'kind', because: '' });
});

test('where none fits, none is taken, and the reasons fit into a title', async () => {
  const long = `no go\n${'and so on '.repeat(100)}`;
  const { name, because } = await firstThatFits([
    candidate('local', 'not root'),
    candidate('rootless', long),
  ]);
  expect(name).toBe('none');
  expect(because).toMatch(/^local: not root; rootless: no go and so on/);
  expect(because).not.toContain('\n');
  expect(because.length).toBeLessThan(300);
});

test('a program is one that can be run, in the folders that are searched', () => {
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-programs-'));
  writeFileSync(join(dir, 'there'), '', { mode: 0o755 });
  writeFileSync(join(dir, 'text'), '', { mode: 0o644 });
  expect(missingPrograms(['there', 'text', 'nowhere'], `/nonexistent:${dir}`)).toEqual(['text', 'nowhere']);
  rmSync(dir, { recursive: true });
});
