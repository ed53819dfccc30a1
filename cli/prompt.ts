// Asks before what cannot be undone. Scripts say --yes.
import { createInterface } from 'node:readline/promises';
import { CliError, usage } from './failure.ts';
import type { Terminal } from './terminal.ts';
import { printable } from './text.ts';

export async function confirm(terminal: Terminal, question: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!terminal.stdin.isTTY || !terminal.isErrTty) {
    throw usage(`nobody is here to answer: ${question}`, 'say --yes if so');
  }
  const asking = createInterface({ input: terminal.stdin, output: terminal.stderr });
  try {
    const answer = await asking
      .question(`${printable(question)} ${terminal.errColors.dim('[y/N]')} `)
      .catch((error: Error) => {
        // Ctrl-C and Ctrl-D leave the line unfinished.
        if (error.name !== 'AbortError') throw error;
        terminal.err('\n');
        return '';
      });
    if (!/^y(?:es)?$/i.test(answer.trim())) throw new CliError('nothing was changed');
  } finally {
    asking.close();
  }
}
