// The `flowmesh` command: wires the command tree to the real terminal, network and server, and turns failures
// into one line, a hint and an exit code. Heavy modules are loaded by the commands that need them.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CommanderError } from 'commander';
import type { Context } from './context.ts';
import { explain } from './failure.ts';
import { createProgram } from './program.ts';
import { processTerminal, type Terminal } from './terminal.ts';
import { printable } from './text.ts';

const exitGraceMs = 500;

async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  let context: Context | undefined;
  const host = {
    terminal,
    version: packageVersion(),
    connect: async (target: Parameters<Awaited<typeof import('./client.ts')>['connect']>[0]) => {
      const { connect } = await import('./client.ts');
      return connect(target);
    },
    startServer: async (
      options: Parameters<Awaited<typeof import('../dataplane/main.ts')>['startServer']>[0],
    ) => {
      const [{ startServer }, { default: grpc }] = await Promise.all([
        import('../dataplane/main.ts'),
        import('@grpc/grpc-js'),
      ]);
      // What it would print is in the errors that it throws.
      grpc.setLogVerbosity(grpc.logVerbosity.NONE);
      return startServer(options);
    },
  };
  const program = createProgram(host, (opened) => {
    context = opened;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    // Commander has printed what was wrong, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return fail(error, terminal, context);
  }
}

function fail(error: unknown, terminal: Terminal, context: Context | undefined): number {
  const { message, hint, code, exitCode } = explain(error, context?.globals.address);
  if (context?.isJson) {
    terminal.err(`${JSON.stringify({ error: { code: code ?? null, message, hint } })}\n`);
    return exitCode;
  }
  const { red, dim } = terminal.errColors;
  terminal.err(`${red('error:')} ${printable(message, true)}${code ? dim(` (${code})`) : ''}\n`);
  if (hint !== '') terminal.err(`  ${hint}\n`);
  return exitCode;
}

/** The nearest package.json above: beside cli/ in the repository, above dist/ when compiled. */
function packageVersion(): string {
  for (let dir = import.meta.dirname; dir !== dirname(dir); dir = dirname(dir)) {
    const file = join(dir, 'package.json');
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  }
  return 'unknown';
}

process.exitCode = await main(process.argv.slice(2), processTerminal());
// Whatever is still open, a command that has ended ends.
setTimeout(() => process.exit(), exitGraceMs).unref();
