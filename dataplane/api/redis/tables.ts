// Every command on data, by its name. What clients may ask of the connection and the server is in session.ts.
import type { DataCommand } from './command.ts';
import { HASHES } from './hashes.ts';
import { KEYS } from './keys.ts';
import { SETS } from './sets.ts';
import { SORTED_SETS } from './sorted-sets.ts';
import { STRINGS } from './strings.ts';

export const COMMANDS: ReadonlyMap<string, DataCommand> = new Map(
  [KEYS, STRINGS, HASHES, SETS, SORTED_SETS].flatMap((table) => Object.entries(table)),
);
