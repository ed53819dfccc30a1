// Kubeconfigs of each kind, read by the package, without the memory that the package takes.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { loadCredentials } from '../../../operator/kube/credentials.ts';
import { TestRuntime } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-credentials-'));
afterAll(() => rmSync(dir, { recursive: true }));

const base64 = (text: string) => Buffer.from(text).toString('base64');

function kubeconfig(name: string, user: object, cluster: object = {}): string {
  const file = join(dir, name);
  const server = 'https://127.0.0.1:6443/';
  writeFileSync(
    file,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'one',
      contexts: [
        { name: 'one', context: { cluster: 'c', user: 'u', namespace: 'ops' } },
        { name: 'two', context: { cluster: 'other', user: 'u' } },
      ],
      clusters: [
        { name: 'c', cluster: { server, 'certificate-authority-data': base64('the ca'), ...cluster } },
        { name: 'other', cluster: { server: 'https://other:1', 'tls-server-name': 'inner' } },
      ],
      users: [{ name: 'u', user }],
    }),
  );
  return file;
}

test('certificates, tokens, basic, exec plugins', async () => {
  const load = async (user: object) => {
    const credentials = await loadCredentials({ kubeconfig: kubeconfig('kinds', user) }, new TestRuntime());
    return credentials.access();
  };
  const certificate = { 'client-certificate-data': base64('cert'), 'client-key-data': base64('key') };
  expect(await load(certificate)).toMatchObject({
    headers: {},
    tls: { ca: Buffer.from('the ca'), cert: Buffer.from('cert'), key: Buffer.from('key') },
  });
  expect((await load({ token: 'abc' })).headers).toEqual({ Authorization: 'Bearer abc' });
  expect((await load({ username: 'me', password: 'pw' })).headers).toEqual({
    Authorization: `Basic ${base64('me:pw')}`,
  });
  const answer = JSON.stringify({ kind: 'ExecCredential', status: { token: 'from-plugin' } });
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'echo', args: [answer] };
  expect((await load({ exec })).headers).toEqual({ Authorization: 'Bearer from-plugin' });
});

test('server, namespace and context; what is missing is said', async () => {
  const file = kubeconfig('contexts', { token: 'abc' });
  const one = await loadCredentials({ kubeconfig: file }, new TestRuntime());
  expect([one.server, one.namespace]).toEqual(['https://127.0.0.1:6443', 'ops']);
  const two = await loadCredentials({ kubeconfig: file, context: 'two' }, new TestRuntime());
  expect([two.server, two.namespace]).toEqual(['https://other:1', undefined]);
  expect((await two.access()).tls.servername).toBe('inner');
  await expect(loadCredentials({ kubeconfig: file, context: 'three' }, new TestRuntime())).rejects.toThrow(
    /three/,
  );
  await expect(loadCredentials({ kubeconfig: join(dir, 'none') }, new TestRuntime())).rejects.toThrow(
    /ENOENT/,
  );
});

test('[C2] rotated files are taken up, at once when the server said 401', async () => {
  const [cert, key] = [join(dir, 'cert'), join(dir, 'key')];
  const write = (text: string) => [cert, key].forEach((file) => void writeFileSync(file, text));
  write('old');
  const file = kubeconfig('files', { 'client-certificate': cert, 'client-key': key });
  const runtime = new TestRuntime();
  const credentials = await loadCredentials({ kubeconfig: file }, runtime);
  const now = async () => `${(await credentials.access()).tls.cert}`;
  expect(await now()).toBe('old');
  write('new');
  expect(await now()).toBe('old');
  runtime.jump(15_001);
  expect(await now()).toBe('new');
  write('newer');
  credentials.forget();
  expect(await now()).toBe('newer');
});

test('[C1] the generated models of the package are not loaded', () => {
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    const { loadCredentials } = await import('./operator/kube/credentials.ts');
    const { realRuntime } = await import('./operator/runtime.ts');
    await loadCredentials({ kubeconfig: process.argv[1] }, realRuntime);
    const ours = loaded.filter((url) => url.includes('client-node/dist/'));
    console.log(JSON.stringify(ours.map((url) => url.split('/dist/')[1])));
  `;
  const args = ['--input-type=module', '-e', script, kubeconfig('lean', { token: 'abc' })];
  const cwd = join(import.meta.dirname, '../../..');
  const loaded = JSON.parse(execFileSync(process.execPath, args, { cwd, encoding: 'utf8' })) as string[];
  expect(loaded).toContain('config.js');
  expect(loaded.filter((path) => path.startsWith('gen/'))).toEqual([]);
});
