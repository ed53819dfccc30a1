// Starts the operator with as little memory as it can do with. Plain JavaScript: reading TypeScript loads Node's type
// stripper, 25 MB that stay for as long as the process lives; and a young generation of the usual size holds 40 MB of
// garbage after a thousand objects. So a first start compiles everything if nothing is compiled yet, and becomes a new
// program in the same process (`execve`) that finds it, with a small young generation.
//   1. Compiled modules are kept in $NODE_COMPILE_CACHE, beside the packages, or in the directory for temporary
//      files, whichever can be written first. If none can, it starts without: more memory, nothing else.
//   2. It starts anew at most once.
import { readdirSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The operator has well over a hundred modules; a cache that another version filled has other ones. */
const MODULES_MIN = 50;
const YOUNG = '--max-semi-space-size';
const YOUNG_MB = 2;
const AGAIN = 'FLOWMESH_OPERATOR_STARTED';

const { NODE_COMPILE_CACHE: chosen, NODE_OPTIONS = '', [AGAIN]: again } = process.env;
const beside = join(import.meta.dirname, '../node_modules/.cache/flowmesh-operator');
const places = chosen ? [chosen] : [beside, join(tmpdir(), 'flowmesh-operator')];
const directory = places.map(enable).find((place) => place !== undefined);
if (again === undefined && process.execve !== undefined) {
  if (directory !== undefined && readdirSync(directory).length < MODULES_MIN) {
    await import('./main.ts');
    module.flushCompileCache();
  }
  const isSet = [NODE_OPTIONS, ...process.execArgv].some((flags) => flags.includes(YOUNG));
  const flags = isSet ? process.execArgv : [...process.execArgv, `${YOUNG}=${YOUNG_MB}`];
  // Node calls it experimental, and says so.
  process.removeAllListeners('warning');
  const command = [process.execPath, ...flags, ...process.argv.slice(1)];
  process.execve(process.execPath, command, { ...process.env, [AGAIN]: '1' });
}
const { start } = await import('./main.ts');
await start();

function enable(place) {
  const { status, directory } = module.enableCompileCache(place);
  return status === module.constants.compileCacheStatus.FAILED ? undefined : directory;
}
