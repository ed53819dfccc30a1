// docs/kubernetes.md as a person follows it: its commands, one after the other, in one shell. Only those of
// kind are left out: the cluster is there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { repository, uninstall } from './support/installed.ts';
import { kubectl } from './support/kubectl.ts';
import { spec } from './support/spec.ts';

const page = readFileSync(join(repository, 'docs/kubernetes.md'), 'utf8');
const commands = [...page.matchAll(/```sh\n(.*?)```/gs)]
  .map(([, block = '']) => block)
  .filter((block) => !block.startsWith('kind '))
  .join('')
  // The packages are there, and nothing may be fetched.
  .replace(/^npm ci\n/m, '')
  .replaceAll('npx flowmesh', 'npx --offline flowmesh')
  .replaceAll('flowmesh.tar', '/tmp/flowmesh-quickstart.tar');

describe('docs/kubernetes.md', () => {
  let failed = false;
  afterAll(async () => {
    if (failed) await uninstall();
    await kubectl('-n', 'default', 'delete', 'pvc,pod', '--all', '--ignore-not-found', '--wait=false');
  });

  spec(
    'every command works, in the order of the page',
    ['needs:kubelet', 'needs:pv'],
    async () => {
      // With every command on the screen, so that the one that fails is the last.
      const script = `set -euxo pipefail\ntrap 'rm -f /tmp/flowmesh-quickstart.tar' EXIT\n${commands}`;
      const shell = spawn('bash', ['-c', script], { cwd: repository, stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      for (const stream of [shell.stdout, shell.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
      }
      const [code] = await once(shell, 'close');
      failed = code !== 0;
      expect(code, output).toBe(0);
      expect(output).toMatch(/queue\.flowmesh\.io\/emails-send\s+emails\.send\s+True/);
      expect(output).toContain('ada@example.org');
      expect(output).toMatch(/attempts +3,/);
      // After the objects were deleted: the job is still there.
      const after = output.slice(output.indexOf('kubectl delete -f examples/manifests'));
      expect(after).toMatch(/emails\.send +1/);
    },
    { timeout: 300_000 },
  );
});
