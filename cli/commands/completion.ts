// flowmesh completion: scripts that shells load. They are made from the command tree, so they cannot fall
// behind it.
import { Argument, type Command } from 'commander';
import { bashScript, fishScript, zshScript } from '../completion-scripts.ts';
import type { Action, Context } from '../context.ts';

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript };
type Shell = keyof typeof scripts;

const howTo: Readonly<Record<Shell, string>> = {
  bash: "echo 'source <(flowmesh completion bash)' >> ~/.bashrc",
  zsh: "echo 'source <(flowmesh completion zsh)' >> ~/.zshrc",
  fish: 'flowmesh completion fish > ~/.config/fish/completions/flowmesh.fish',
};

export function addCompletionCommand(program: Command, action: Action): void {
  program
    .command('completion')
    .description('completion for your shell')
    .addArgument(new Argument('<shell>').choices(Object.keys(howTo)))
    .addHelpText(
      'after',
      `\nTo keep it:\n${Object.values(howTo)
        .map((line) => `  ${line}`)
        .join('\n')}`,
    )
    .action(
      action((context: Context, _: unknown, shell: Shell) => {
        context.terminal.out(scripts[shell](program));
        if (context.terminal.isTty) context.hint(`# to keep it: ${howTo[shell]}`);
      }),
    );
}
