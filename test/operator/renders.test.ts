// What the operator would apply for each manifest of specs/, as committed in renders/. A difference is a
// change of what runs in people's clusters: look at it, then `npx vitest run test/operator/renders.test.ts
// -u`.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CASES, render, rendersDir } from './render-cases.ts';

test.each(CASES)('renders $name as committed', async (renderCase) => {
  await expect(render(renderCase)).toMatchFileSnapshot(join(rendersDir, `${renderCase.name}.yaml`));
});

test('every render has its spec', () => {
  expect(readdirSync(rendersDir)).toEqual(CASES.map(({ name }) => `${name}.yaml`));
});
