// flowmesh serve: a server for production, as its file says. It tells what it does by its log, one JSON
// document a line; the first signal ends it in an orderly way, the second at once.
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import { aborted, type DevHost } from '../dev/dev.ts';
import { CliError } from '../failure.ts';
import { readServeConfig } from '../serve/config.ts';

export function addServeCommand(program: Command, action: Action, host: DevHost): void {
  program
    .command('serve')
    .description('run a FlowMesh server, configured by one file')
    .requiredOption('--config <file>', 'YAML; docs/reference/serve.md has its fields')
    .option('--check', 'only say whether the file is right')
    .action(action((context, options: ServeOptions) => serve(context, options, host)));
}

interface ServeOptions {
  config: string;
  check?: boolean;
}

async function serve(context: Context, { config, check }: ServeOptions, host: DevHost): Promise<void> {
  const content = await readFile(config, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new CliError(`${config} cannot be read: ${cause.code ?? cause.message}`, 'check --config');
  });
  const options = readServeConfig(content, config);
  if (check) {
    context.show({ valid: true }, () => `${context.terminal.colors.green('valid')}: ${config}\n`);
    return;
  }
  const signal = context.terminal.interrupted();
  const server = await host.startServer(options);
  await aborted(signal);
  await server.close();
}
