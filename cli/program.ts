// The command tree: everything `flowmesh` understands, as data that commander parses and completion reads.
// Nothing here touches the world; see main.ts.
import { Command, Option } from 'commander';
import { addApplyCommands } from './commands/apply.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addDevCommand } from './commands/dev.ts';
import { addKvCommands } from './commands/kv.ts';
import { addQueueCommands } from './commands/queue.ts';
import { addStatusCommands } from './commands/status.ts';
import { addStreamCommands } from './commands/stream.ts';
import { actionFor, type Context, type Host } from './context.ts';
import type { DevHost } from './dev/dev.ts';

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
      new Option('-o, --output <format>', 'tables for people, JSON for scripts')
        .choices(['table', 'json'])
        .default('table'),
    )
    .helpCommand(false)
    .addHelpText('after', examples)
    .showHelpAfterError('(run with --help for what there is)')
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false, ...(isTty ? {} : { helpWidth: 100 }) })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => host.terminal.out(text),
      writeErr: (text) => host.terminal.err(text),
      getOutHelpWidth: () => host.terminal.columns(),
      getErrHelpWidth: () => host.terminal.columns(),
      getOutHasColors: () => host.terminal.colors.isColorSupported,
      getErrHasColors: () => host.terminal.errColors.isColorSupported,
    });
  const action = actionFor(host, onContext);
  addDevCommand(program, action, host);
  addApplyCommands(program, action);
  addKvCommands(program, action);
  addQueueCommands(program, action);
  addStreamCommands(program, action);
  addStatusCommands(program, action, host);
  addCompletionCommand(program, action);
  // Of groups, `help` as a command would only repeat --help.
  for (const command of program.commands) command.helpCommand(false);
  return program;
}

const examples = `
Examples:
  flowmesh dev -f manifests/                      run it here, with what manifests declare
  flowmesh queue enqueue emails.send '{"to":"ada@example.com"}'
  flowmesh queue jobs emails.send --state dead    what went wrong, and why
  flowmesh stream tail orders.events -f           events as they come
  flowmesh kv set user:1 '{"name":"Ada"}' --ttl 1h`;
