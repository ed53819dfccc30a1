import { defineConfig } from 'vitest/config';

// What needs a real Kubernetes: not part of `npm test`.
const conditions = ['flowmesh-source', 'node', 'import', 'module', 'default'];
const shared = {
  pool: 'forks' as const,
  execArgv: ['--conditions=flowmesh-source'],
  // The first one of a machine builds what it needs, for minutes.
  hookTimeout: 1_800_000,
  testTimeout: 180_000,
};

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    maxWorkers: 2,
    // The default is one second.
    expect: { poll: { timeout: 30_000 } },
    projects: [
      { extends: true, test: { ...shared, name: 'kube', include: ['test/kube/**/*.test.ts'] } },
      { extends: true, test: { ...shared, name: 'chart', include: ['test/chart/**/*.test.ts'] } },
      {
        extends: true,
        test: {
          ...shared,
          name: 'e2e',
          include: ['e2e/specs/**/*.e2e.ts'],
          fileParallelism: false,
          // main.ts has built everything before.
          hookTimeout: 180_000,
        },
      },
      {
        extends: true,
        test: { ...shared, name: 'harness', include: ['e2e/harness/**/*.test.ts'], fileParallelism: false },
      },
    ],
  },
});
