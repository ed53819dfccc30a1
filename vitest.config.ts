import { defineConfig } from 'vitest/config';

// The workspace packages run from their TypeScript sources, in the forks as well.
const conditions = ['flowmesh-source', 'node', 'import', 'module', 'default'];
const shared = {
  pool: 'forks' as const,
  execArgv: ['--conditions=flowmesh-source'],
  testTimeout: 30_000,
  hookTimeout: 30_000,
};

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    maxWorkers: 2,
    // A machine that is busy with others may stand still for longer than the one second that is the default.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          ...shared,
          name: 'main',
          include: ['test/**/*.test.ts', 'proto/test/**/*.test.ts', 'sdk/node/test/**/*.test.ts'],
          exclude: [
            ...['crash', 'faults', 'guard', 'kube', 'chart'].map((folder) => `test/${folder}/**`),
            '**/node_modules/**',
          ],
        },
      },
      {
        extends: true,
        test: {
          ...shared,
          name: 'crash',
          include: ['test/crash/**/*.test.ts'],
          testTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        extends: true,
        test: {
          ...shared,
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        extends: true,
        test: {
          ...shared,
          name: 'guard',
          include: ['test/guard/**/*.test.ts'],
          fileParallelism: false,
        },
      },
    ],
  },
});
