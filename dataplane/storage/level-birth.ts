// Makes a LevelDB database that exists whole or not at all. LevelDB does not sync the first manifest of a new
// database, so that a power cut can leave one that is refused as corrupt for ever after.
//   B1. It is made under another name, every file of it is synced, and only then it gets its own.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { syncPath } from './sync-path.ts';

export async function bearLevel(dir: string): Promise<void> {
  if (existsSync(dir) && readdirSync(dir).length > 0) return;
  const unborn = `${dir}.new`;
  rmSync(unborn, { recursive: true, force: true });
  mkdirSync(unborn, { recursive: true });
  const db = new ClassicLevel(unborn);
  await db.open();
  await db.close();
  for (const name of readdirSync(unborn)) syncPath(join(unborn, name));
  syncPath(unborn);
  renameSync(unborn, dir);
  syncPath(dirname(dir));
}

/** LevelDB's own word on why it cannot be locked; undefined: it can. Changes nothing in it. */
export async function lockFailure(dir: string): Promise<unknown> {
  const options = { createIfMissing: false, errorIfExists: true };
  const error = await new ClassicLevel(dir, options).open(options).catch((thrown: unknown) => thrown);
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED' ? error : undefined;
}
