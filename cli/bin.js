#!/usr/bin/env node
// Starts the command line with a Node that can run it. Plain JavaScript without dependencies, for any Node an npm user
// may have: FlowMesh needs 26, and the package brings that version along.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NODE_MAJOR = 26;

const here = dirname(fileURLToPath(import.meta.url));
const compiled = join(here, '..', 'dist', 'cli', 'main.js');
const source = join(here, 'main.ts');
// In the repository the sources are what one is working on, whatever was compiled before.
const fromSource = existsSync(source);
const main = fromSource ? source : compiled;

const running = Number(process.versions.node.split('.')[0]);
// The workspace packages run from source too, which takes a condition at start.
const hasCondition = process.execArgv.some((arg) => arg.includes('flowmesh-source'));

// What is compiled once is kept: a start takes half the time and 15 MB less. A directory that cannot be written is no
// error, there is no cache then.
const cache = join(here, '..', 'node_modules', '.cache', 'flowmesh');

if (running >= NODE_MAJOR && (!fromSource || hasCondition)) {
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE ?? cache);
  await import(pathToFileURL(main).href);
} else {
  const node = running >= NODE_MAJOR ? process.execPath : pinnedNode();
  if (node === undefined) {
    process.stderr.write(
      `error: FlowMesh needs Node.js ${NODE_MAJOR} or newer, this is ${process.version}\n` +
        '  install it, or run npm install again so that the version that comes with FlowMesh is there\n',
    );
    process.exit(1);
  }
  const conditions = fromSource ? ['--conditions=flowmesh-source'] : [];
  const child = spawn(node, [...conditions, main, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { NODE_COMPILE_CACHE: cache, ...process.env },
  });
  // Ctrl-C reaches the child by itself, as part of the terminal's group; a signal to this process alone does not.
  const inTerminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !inTerminal) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    process.stderr.write(`error: ${node} could not be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0));
  });
}

/** The binary of the optional dependency for this platform, from the nearest node_modules that has it. */
function pinnedNode() {
  const { platform, arch } = process;
  const binary = join('bin', platform === 'win32' ? 'node.exe' : 'node');
  const packages = [`node-${platform}-${arch}`, `node-bin-${platform}-${arch}`];
  for (let dir = here; ; dir = dirname(dir)) {
    for (const name of packages) {
      const candidate = join(dir, 'node_modules', name, binary);
      if (existsSync(candidate)) return candidate;
    }
    if (dir === dirname(dir)) return undefined;
  }
}
