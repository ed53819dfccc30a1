// A FlowMesh server as a process of its own, for tests and benchmarks: node serve.ts '<ServerOptions as
// JSON>'. Prints one line of JSON with its ports when it serves; ends on SIGTERM.
import { flushCompileCache } from 'node:module';
import { giveBackMemory, type ServerOptions, startServer } from '../../dataplane/main.ts';

const given = JSON.parse(process.argv[2] ?? '{}') as Partial<ServerOptions>;
const server = await startServer({
  dataDir: null,
  shards: 1,
  host: '127.0.0.1',
  grpcPort: 0,
  httpPort: 0,
  insecure: false,
  autoCreate: true,
  logLevel: 'error',
  ...given,
});
// As `flowmesh serve` does: most of these are killed, and would keep nothing.
flushCompileCache();
giveBackMemory(given.memoryLimitBytes);
const { grpcPort, httpPort, redisPort } = server;
process.stdout.write(`${JSON.stringify({ grpcPort, httpPort, redisPort })}\n`);
process.on('SIGTERM', () => {
  void server.close().then(() => process.exit(0));
});
// Test harnesses ask for memory and a garbage collection through the IPC channel.
process.on('message', (message) => {
  if (message !== 'memory') return;
  globalThis.gc?.();
  process.send?.(process.memoryUsage());
});
