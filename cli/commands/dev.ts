// flowmesh dev: options only; the work is in dev/dev.ts.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Action } from '../context.ts';
import { type DevHost, type DevOptions, dev } from '../dev/dev.ts';
import { size, whole } from '../parsing.ts';

const levels = ['debug', 'info', 'warn', 'error', 'silent'];

export function addDevCommand(program: Command, action: Action, host: DevHost): void {
  program
    .command('dev')
    .description('run FlowMesh on this machine, configured by manifests')
    .option('--data <dir>', 'where data is kept', '.flowmesh')
    .addOption(new Option('--ephemeral', 'keep everything in memory, gone at the end').conflicts('data'))
    .option('-f, --filename <path...>', 'manifests: files or folders; watched, and applied when they change')
    .option('--grpc-port <port>', 'port for SDKs; 0 takes any free one', whole(0, 65_535), 7070)
    .option('--http-port <port>', 'port for REST; 0 takes any free one', whole(0, 65_535), 7080)
    .option(
      '--redis-port <port>',
      'port for Redis clients (6379, if it is free); 0 takes any',
      whole(0, 65_535),
    )
    .option(
      '--keys-memory <size>',
      'memory for keys that are kept at hand (256MiB, at most an eighth of all)',
      size,
    )
    .option('--host <host>', 'address to listen on', hostName, '127.0.0.1')
    .option(
      '--shards <n>',
      'units of order and atomic commit; fixed when the data is created',
      whole(1, 1024),
      1,
    )
    .option('--memory-limit <size>', 'no new data near it (what the container or the machine has)', size)
    .option('--insecure', 'let anyone in, also from other machines')
    .option('--no-auto-create', 'refuse queues and streams that nobody declared')
    .addOption(
      new Option('--log-level <level>', 'least severe lines to print').choices(levels).default('warn'),
    )
    .addOption(new Option('--until-stdin-ends', 'stop when the program that started this is gone').hideHelp())
    .addHelpText('after', '\n--token makes clients give this token.')
    .action(action((context, options: DevOptions) => dev(context, options, host)));
}

function hostName(text: string): string {
  if (/^[\w.:-]+$/.test(text)) return text;
  throw new InvalidArgumentError('Write a host name or an IP address.');
}
