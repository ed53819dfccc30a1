// Starts the operator with as little memory as it can do with. Plain JavaScript: reading TypeScript loads
// Node's type stripper, 25 MB that stay for as long as the process lives. So a first start compiles
// everything if nothing is compiled yet, and becomes a new program in the same process (`execve`) that finds
// it, told to keep little garbage.
//   1. Compiled modules are kept in $NODE_COMPILE_CACHE, beside the packages, or in the directory for
//      temporary files, whichever can be written first. If none can, it starts without: more memory, nothing
//      else.
//   2. It starts anew at most once.
//   3. Who sets a flag or a variable of these has it: for more objects than half of the container's memory
//      holds, NODE_OPTIONS=--max-old-space-size=MB.
import { readdirSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The operator has well over a hundred modules; a cache that another version filled has other ones. */
const MODULES_MIN = 50;
const AGAIN = 'FLOWMESH_OPERATOR_STARTED';
const MB = 1024 * 1024;
/** Where the container has no limit: some 50,000 objects, and half of a limit of 1 GiB. */
const HEAP_MB = 512;
/** What a container without a limit says is larger than any machine. */
const LIMIT_MB_MAX = 1024 * 1024;

/**
 * Of glibc: threads share one arena, and what is freed goes back to the system. What Node reads from sockets, 64 KiB at
 * a time, would leave holes.
 */
const MALLOC = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '32768', MALLOC_TRIM_THRESHOLD_: '65536' };

const { NODE_COMPILE_CACHE: chosen, NODE_OPTIONS = '', [AGAIN]: again } = process.env;
const beside = join(import.meta.dirname, '../node_modules/.cache/flowmesh-operator');
const places = chosen ? [chosen] : [beside, join(tmpdir(), 'flowmesh-operator')];
const directory = places.map(enable).find((place) => place !== undefined);
if (again === undefined && process.execve !== undefined) {
  if (directory !== undefined && readdirSync(directory).length < MODULES_MIN) {
    await import('./main.ts');
    module.flushCompileCache();
  }
  const given = [NODE_OPTIONS, ...process.execArgv].join(' ');
  const flags = Object.entries(thrift()).filter(([flag]) => !given.includes(flag));
  // Node calls it experimental, and says so.
  process.removeAllListeners('warning');
  const own = flags.map(([flag, value]) => `${flag}=${value}`);
  const command = [process.execPath, ...process.execArgv, ...own, ...process.argv.slice(1)];
  process.execve(process.execPath, command, { ...MALLOC, ...process.env, [AGAIN]: '1' });
}
const { start } = await import('./main.ts');
await start();

/** With a thousand queues that come at once, in MB at most: 196 as Node comes, see docs/performance.md. */
function thrift() {
  const limitMb = Math.floor(process.constrainedMemory() / MB);
  return {
    // A young generation of the usual size holds 40 MB of garbage.
    '--max-semi-space-size': 2,
    // V8 lets the heap grow by a third between two collections where it may not become large, else fourfold.
    '--max-old-space-size': limitMb > 0 && limitMb < LIMIT_MB_MAX ? Math.floor(limitMb / 2) : HEAP_MB,
  };
}

function enable(place) {
  const { status, directory } = module.enableCompileCache(place);
  return status === module.constants.compileCacheStatus.FAILED ? undefined : directory;
}
