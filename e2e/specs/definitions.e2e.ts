// What a person finds with kubectl once the definitions are installed, before any operator.
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { createNamespace, established, kubectl, type Namespace } from './support/kubectl.ts';
import { spec } from './support/spec.ts';

const repository = resolve(import.meta.dirname, '../..');
const definitions = readdirSync(join(repository, 'crds')).filter((name) => name.endsWith('.yaml'));

describe('the definitions', () => {
  let space: Namespace;
  beforeAll(async () => {
    const files = definitions.flatMap((name) => ['-f', join(repository, 'crds', name)]);
    await kubectl('apply', '--server-side', ...files);
    await established(...files);
    space = await createNamespace('definitions');
  });
  afterAll(() => space?.remove());

  spec('are found by category, and explain every field', ['process-ok'], async () => {
    const kinds = await kubectl('api-resources', '--categories=flowmesh', '-o', 'name');
    expect(kinds.split('\n')).toHaveLength(definitions.length);
    // What explain reads (OpenAPI) is published a moment after the kinds themselves are served.
    const explained = () => kubectl('explain', 'queue.spec.delivery').catch(({ message }) => message);
    await expect.poll(explained, { timeout: 30_000 }).toMatch(/visibilityTimeout\s+<string>/);
  });

  spec('accept the example manifests, listed by short name', ['process-ok'], async () => {
    await space.kubectl('apply', '--server-side', '-f', join(repository, 'examples/manifests'));
    const names = await space.kubectl('get', 'fmq,fms', '-o', 'name');
    expect(names).toMatch(/^queue\.flowmesh\.io\/\S+$/m);
    expect(names).toMatch(/^stream\.flowmesh\.io\/\S+$/m);
  });

  spec('refuse a change of what is fixed, and name the field', ['process-ok'], async () => {
    const patch = JSON.stringify({ spec: { clusterRef: { name: 'another' } } });
    const [queue = ''] = (await space.kubectl('get', 'fmq', '-o', 'name')).split('\n');
    const refused = space.kubectl('patch', queue, '--type=merge', '-p', patch);
    await expect(refused).rejects.toThrow(/spec\.clusterRef/);
  });
});
