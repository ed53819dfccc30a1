// docs/reference/cli.md from the command tree of the command line, so that the page cannot fall behind it.
import type { Argument, Command, Option } from 'commander';
import { pathOf, usageOf } from '../../cli/command-path.ts';
import type { Host } from '../../cli/context.ts';
import type { DevHost } from '../../cli/dev/dev.ts';
import { examplesOf } from '../../cli/examples.ts';
import { createProgram } from '../../cli/program.ts';

export function cliReference(): string {
  const nowhere = { terminal: { isTty: false }, version: '' } as Host & DevHost;
  const program = createProgram(nowhere, () => {});
  const commands = program.commands.map((command) => section(command, '##')).join('\n');
  return `# Command line
[//]: # (Made by npm run generate from cli/. Do not edit.)

\`\`\`sh
flowmesh [options] <command>     # npx flowmesh, where it is installed in a project
\`\`\`

Results go to standard output: tables for people, cut to the width of the terminal, or JSON for scripts with
\`-o json\`. Hints, progress and errors go to standard error. What is written and read leaves and arrives byte
for byte; only what is shown on a terminal has its control characters made visible. Durations are written
\`500ms\`, \`90s\`, \`5m\`, \`24h\`, \`7d\`, sizes \`512Mi\`, \`1Gi\`. A value that begins with \`-\` comes
after \`--\`.

${optionTable(program.createHelp().visibleOptions(program), 'option of every command')}
| exit code | |
| --- | --- |
| 0 | done |
| 1 | refused, not found or not reachable; the [code](errors.md) is part of the message |
| 2 | the command line itself is wrong |
| 130 | interrupted |

${overview(program.commands, 'command')}
${commands}`;
}

function section(command: Command, heading: string): string {
  const path = pathOf(command);
  const isGroup = command.commands.length > 0;
  const parts = [
    `${heading} ${path}`,
    sentence(command.description()),
    isGroup ? '' : usage(command),
    described(command.registeredArguments),
    optionTable(
      command.options.filter(({ hidden }) => !hidden),
      isGroup ? 'option of the group' : 'option',
    ),
    isGroup ? overview(command.commands, 'command') : '',
  ];
  const own = `${parts
    .filter(Boolean)
    .map((part) => part.trimEnd())
    .join('\n\n')}\n`;
  return [own, ...command.commands.map((each) => section(each, `${heading}#`))].join('\n');
}

function usage(command: Command): string {
  const form = usageOf(command);
  const examples = examplesOf(command).filter((line) => line !== form);
  return ['```sh', examples.length > 0 ? `# ${form}` : form, ...examples, '```'].join('\n');
}

const overview = (commands: readonly Command[], title: string) =>
  tableOf(
    title,
    commands.map((command) => {
      const path = pathOf(command);
      return [`[${path}](#${path.replaceAll(' ', '-')})`, command.description()];
    }),
  );

function described(args: readonly Argument[]): string {
  const rows = args
    .filter(({ description, argChoices }) => description !== '' || argChoices)
    .map((argument): [string, string] => {
      const text = [argument.description, choices(argument.argChoices), defaultOf(argument)];
      return [`\`${argument.required ? `<${argument.name()}>` : `[${argument.name()}]`}\``, joined(text)];
    });
  return rows.length === 0 ? '' : tableOf('argument', rows);
}

function optionTable(options: readonly Option[], title: string): string {
  const rows = options.map((option): [string, string] => {
    const env = option.envVar ? `also \`${option.envVar}\` in the environment` : '';
    const needed = option.mandatory ? 'required' : '';
    const text = [option.description, choices(option.argChoices), needed, defaultOf(option), env];
    return [`\`${option.flags}\``, joined(text)];
  });
  return rows.length === 0 ? '' : tableOf(title, rows);
}

const choices = (values: readonly string[] | undefined) =>
  values === undefined ? '' : values.map((value) => `\`${value}\``).join(', ');

function defaultOf({ defaultValue, defaultValueDescription }: Option | Argument): string {
  if (defaultValueDescription !== undefined) return `default \`${defaultValueDescription}\``;
  return defaultValue === undefined || typeof defaultValue === 'boolean' ? '' : `default \`${defaultValue}\``;
}

const joined = (parts: readonly string[]) => parts.filter(Boolean).join('; ');

const tableOf = (title: string, rows: readonly (readonly string[])[]) =>
  [`| ${title} | |`, '| --- | --- |', ...rows.map((cells) => `| ${cells.map(cell).join(' | ')} |`), ''].join(
    '\n',
  );

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<queue>.dead', '`<queue>.dead`');

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
