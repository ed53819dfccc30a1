// Asks before what cannot be undone. Scripts say --yes.
import { createInterface } from 'node:readline/promises';
import { CliError, usage } from './failure.ts';
import type { Terminal } from './terminal.ts';

export async function confirm(terminal: Terminal, question: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!terminal.stdin.isTTY || !terminal.isErrTty) {
    throw usage('this asks first, and nobody is here to answer', `${question} Say --yes if so`);
  }
  const asking = createInterface({ input: terminal.stdin, output: process.stderr });
  try {
    const answer = await asking.question(`${question} ${terminal.errColors.dim('[y/N]')} `);
    if (!/^y(?:es)?$/i.test(answer.trim())) throw new CliError('nothing was changed');
  } finally {
    asking.close();
  }
}
