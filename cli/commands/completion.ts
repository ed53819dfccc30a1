// flowmesh completion: scripts that shells load. They are made from the command tree, so they cannot fall
// behind it.
import { Argument, type Command } from 'commander';
import { bashScript, fishScript, zshScript } from '../completion-scripts.ts';
import type { Action, Context } from '../context.ts';
import { examples } from '../examples.ts';

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript };
type Shell = keyof typeof scripts;

export function addCompletionCommand(program: Command, action: Action): void {
  program
    .command('completion')
    .description('completion for your shell')
    .addArgument(new Argument('<shell>').choices(Object.keys(scripts)))
    .action(
      action((context: Context, _: unknown, shell: Shell) => {
        context.terminal.out(scripts[shell](program));
        const toKeep = examples['completion']?.find((line) => line.includes(` ${shell}`));
        if (context.terminal.isTty) context.hint(`# to keep it: ${toKeep}`);
      }),
    );
}
