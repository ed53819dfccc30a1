// A command line that is wrong: what commander found, told as any other failure is told.
import type { Command, CommanderError } from 'commander';
import { pathOf, usageOf } from './command-path.ts';
import { asHint, type CliError, usage } from './failure.ts';

export function usageError(command: Command, error: CommanderError): CliError {
  const [what = '', suggestion] = error.message.replace(/^error: /, '').split('\n');
  const [, invalid, expected = ''] = /^(.* is invalid(?: for argument '[^']*')?)\. (.*)$/s.exec(what) ?? [];
  if (invalid !== undefined)
    return usage(invalid.replace(ofArgument, 'value $1 of argument $2 is invalid'), asHint(expected));
  const name = `flowmesh ${pathOf(command)}`.trim();
  const help = `what there is: ${name} --help`;
  switch (error.code) {
    case 'commander.unknownCommand':
      return usage(what, meant(command, help) ?? (suggestion ? asHint(suggestion.slice(1, -1)) : help));
    case 'commander.unknownOption':
      return usage(what, suggestion ? asHint(suggestion.slice(1, -1)) : help);
    default:
      return usage(what.replace(/\.$/, ''), `usage: ${usageOf(command)}`);
  }
}

const ofArgument = /^command-argument value ('.*') is invalid for argument ('.*')$/s;

/** What other tools call it, where the spelling alone does not lead there. */
const synonyms: Readonly<Record<string, readonly string[]>> = {
  add: ['enqueue', 'write', 'set'],
  consume: ['read', 'lease'],
  create: ['declare'],
  del: ['delete'],
  delete: ['del'],
  describe: ['get', 'inspect'],
  info: ['get', 'inspect', 'status'],
  keys: ['ls'],
  list: ['ls'],
  produce: ['write'],
  publish: ['write'],
  push: ['enqueue', 'write'],
  put: ['set', 'write', 'enqueue'],
  remove: ['del', 'delete'],
  reset: ['seek'],
  retry: ['redrive'],
  rm: ['del', 'delete'],
  run: ['dev'],
  scan: ['ls'],
  send: ['enqueue', 'write'],
  serve: ['dev'],
  show: ['get'],
  start: ['dev'],
  stop: ['pause'],
  ttl: ['inspect'],
  watch: ['tail'],
};

function meant(command: Command, help: string): string | undefined {
  const word = command.args[0] ?? '';
  if (word === 'help') return help;
  const names = command.commands.map((each) => each.name());
  const found = Object.hasOwn(synonyms, word) ? synonyms[word]?.find((name) => names.includes(name)) : '';
  return found ? `did you mean ${found}?` : undefined;
}
