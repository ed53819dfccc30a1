// What a server takes that has nothing to do (docs/performance.md has the figures).
import { expect, test } from 'vitest';
import { startServerProcess } from '../support/server-process.ts';

/** 110 MB with what an earlier start has compiled, 133 MB without. */
const IDLE_BYTES_MAX = 150e6;

test('a server that has just started has given back what only its start needed', async () => {
  const server = await startServerProcess({ redisPort: 0 });
  try {
    expect((await server.memory()).rss).toBeLessThan(IDLE_BYTES_MAX);
  } finally {
    await server.kill('SIGTERM');
  }
});
