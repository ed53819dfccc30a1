// One run of the command line: parses, acts, and turns a failure into one line, a hint and an exit code.
// Knows the world only as `host`, so that tests run it in-process.
import { CommanderError } from 'commander';
import type { Context, Host } from './context.ts';
import type { DevHost } from './dev/dev.ts';
import { explain } from './failure.ts';
import { inJson } from './json.ts';
import { createProgram } from './program.ts';
import { printable } from './text.ts';

export async function run(argv: readonly string[], host: Host & DevHost): Promise<number> {
  let context: Context | undefined;
  const program = createProgram(host, (opened) => {
    context = opened;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    // Help and version that were asked for, or help because nothing was.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return fail(error, host, { isJson: program.opts()['output'] === 'json', context });
  }
}

interface Asked {
  isJson: boolean;
  context: Context | undefined;
}

function fail(error: unknown, { terminal }: Host, { isJson, context }: Asked): number {
  const { message, hint, code, exitCode } = explain(error, context?.globals.address);
  if (isJson) {
    terminal.err(`${inJson({ error: { code: code ?? null, message, hint } })}\n`);
    return exitCode;
  }
  const { red, dim } = terminal.errColors;
  terminal.err(`${red('error:')} ${printable(message, true)}${code ? dim(` (${code})`) : ''}\n`);
  if (hint !== '') terminal.err(`  ${printable(hint)}\n`);
  return exitCode;
}
