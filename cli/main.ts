// The `flowmesh` command: gives the command line the real terminal, network and server. Heavy modules are
// loaded by the commands that need them.
import { existsSync, readFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { dirname, join } from 'node:path';
import type { Host } from './context.ts';
import type { DevHost } from './dev/dev.ts';
import { run } from './run.ts';
import { processTerminal } from './terminal.ts';

const host: Host & DevHost = {
  terminal: processTerminal(),
  version: packageVersion(),
  connect: async (target) => {
    const { connect } = await import('./client.ts');
    // `dev` comes here once its server has started, and what is compiled from now on counts too.
    flushCompileCache();
    return connect(target);
  },
  startServer: async (options) => {
    const [{ startServer, giveBackMemory }, { default: grpc }] = await Promise.all([
      import('../dataplane/main.ts'),
      import('@grpc/grpc-js'),
    ]);
    // What it would print is in the errors that it throws.
    grpc.setLogVerbosity(grpc.logVerbosity.NONE);
    const server = await startServer(options);
    // A server that is killed later keeps what it has compiled all the same (cli/bin.js).
    flushCompileCache();
    giveBackMemory(options.memoryLimitBytes);
    return server;
  },
};

/** The nearest package.json above: beside cli/ in the repository, above dist/ when compiled. */
function packageVersion(): string {
  for (let dir = import.meta.dirname; dir !== dirname(dir); dir = dirname(dir)) {
    const file = join(dir, 'package.json');
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  }
  return 'unknown';
}

const exitGraceMs = 500;

process.exitCode = await run(process.argv.slice(2), host);
// Whatever is still open, a command that has ended ends.
setTimeout(() => process.exit(), exitGraceMs).unref();
