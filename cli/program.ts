// The command tree: everything `flowmesh` understands, as data that commander parses and completion reads.
// Nothing here touches the world; see main.ts.
import { Command, Option } from 'commander';
import { addApplyCommands } from './commands/apply.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addDevCommand } from './commands/dev.ts';
import { addKvCommands } from './commands/kv.ts';
import { addQueueCommands } from './commands/queue.ts';
import { addScalingCommands } from './commands/scaling.ts';
import { addSchemaCommands } from './commands/schema.ts';
import { addServeCommand } from './commands/serve.ts';
import { addStatusCommands } from './commands/status.ts';
import { addStreamCommands } from './commands/stream.ts';
import { actionFor, type Context, type Host } from './context.ts';
import type { DevHost } from './dev/dev.ts';
import { examplesOf } from './examples.ts';
import { usageError } from './usage.ts';

export function createProgram(host: Host & DevHost, onContext: (context: Context) => void): Command {
  const { isTty } = host.terminal;
  const program = new Command('flowmesh');
  program
    .description('Cache, job queues and event streams over one log.')
    .addOption(
      new Option('--address <host:port>', 'where FlowMesh listens for gRPC')
        .env('FLOWMESH_ADDRESS')
        .default('localhost:7070'),
    )
    .addOption(new Option('--token <token>', 'access token').env('FLOWMESH_TOKEN'))
    .addOption(
      new Option('--tls-ca <file>', 'TLS, with a server of these authorities (PEM), or of the `system`').env(
        'FLOWMESH_CA_FILE',
      ),
    )
    .addOption(new Option('--tls-cert <file>', 'client certificate (PEM)').env('FLOWMESH_CERT_FILE'))
    .addOption(new Option('--tls-key <file>', 'its private key (PEM)').env('FLOWMESH_KEY_FILE'))
    .addOption(
      new Option('-o, --output <format>', 'tables for people, JSON for scripts')
        .choices(['table', 'json'])
        .default('table'),
    )
    .version(host.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', examples)
    .configureHelp({
      ...{ showGlobalOptions: true, visibleGlobalOptions: globalOptions, sortSubcommands: false },
      ...(isTty ? {} : { helpWidth: 100 }),
    })
    .configureOutput({
      outputError: () => {}, // run.ts does, in the form that all errors have
      writeOut: (text) => host.terminal.out(text),
      writeErr: (text) => host.terminal.err(text),
      getOutHelpWidth: () => host.terminal.columns(),
      getErrHelpWidth: () => host.terminal.columns(),
      getOutHasColors: () => host.terminal.colors.isColorSupported,
      getErrHasColors: () => host.terminal.errColors.isColorSupported,
    });
  const action = actionFor(host, onContext);
  addDevCommand(program, action, host);
  addServeCommand(program, action, host);
  addApplyCommands(program, action);
  addKvCommands(program, action);
  addQueueCommands(program, action);
  addStreamCommands(program, action);
  addScalingCommands(program, action);
  addSchemaCommands(program, action);
  addStatusCommands(program, action, host);
  addCompletionCommand(program, action);
  finish(program);
  return program;
}

/** Those of all ancestors; but a version is asked of the program, not of a command. */
function globalOptions({ parent }: Command): Option[] {
  if (parent === null) return [];
  const own = parent.options.filter(({ hidden, long }) => !hidden && long !== '--version');
  return [...own, ...globalOptions(parent)];
}

/** What holds for every command, once they are all there. */
function finish(command: Command): void {
  command.exitOverride((error) => {
    if (error.exitCode === 0 || error.code === 'commander.help') throw error;
    throw usageError(command, error);
  });
  const lines = examplesOf(command);
  if (lines.length > 0) {
    const title = lines.length === 1 ? 'Example:' : 'Examples:';
    command.addHelpText('after', ['', title, ...lines.map((line) => `  ${line}`)].join('\n'));
  }
  for (const each of command.commands) {
    // Of groups, `help` as a command would only repeat --help.
    each.helpCommand(false);
    finish(each);
  }
}

const examples = `
Examples:
  flowmesh dev -f manifests/                      run it here, with what manifests declare
  flowmesh queue enqueue emails.send '{"to":"ada@example.com"}'
  flowmesh queue jobs emails.send.dead            what went wrong, and why
  flowmesh stream tail orders.events -f           events as they come
  flowmesh kv set user:1 '{"name":"Ada"}' --ttl 1h`;
