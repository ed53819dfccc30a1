// How a command is called, for help, errors and documents.
import type { Command } from 'commander';

/** `kv set`; empty: the program. */
export function pathOf(command: Command): string {
  return command.parent === null ? '' : `${pathOf(command.parent)} ${command.name()}`.trim();
}

/** `flowmesh kv get <key>`. */
export function usageOf(command: Command): string {
  const hasOptions = command.options.some(({ hidden }) => !hidden) || command.commands.length > 0;
  const rest = hasOptions ? command.usage() : command.usage().replace(/^\[options\] ?/, '');
  return `flowmesh ${pathOf(command)} ${rest}`.trimEnd().replace('  ', ' ');
}
