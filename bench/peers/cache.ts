// Where the peers come from: what is installed already, else the package managers of the machine. What they
// bring lies outside of the repository, in ~/.cache/flowmesh-peers or FLOWMESH_PEERS_CACHE.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const cacheDir = process.env.FLOWMESH_PEERS_CACHE ?? join(homedir(), '.cache/flowmesh-peers');

const KAFKA = '4.3.1';
const NPM = {
  amqplib: '2.3.1',
  bullmq: '6.7.0',
  ioredis: '6.0.0',
};

function run(command: string, args: readonly string[], env: Record<string, string> = {}): void {
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  if (status !== 0)
    throw new Error(`${command} ${args[0]}: ${error?.message ?? stderr.trim().split('\n').at(-1)}`);
}

/** A program of a Debian package. */
export function debian(program: string, name: string): string {
  const found = spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim();
  if (found !== '') return found;
  run('apt-get', ['update', '-qq']);
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], {
    DEBIAN_FRONTEND: 'noninteractive',
  });
  return program;
}

/** A program that the Go toolchain builds. */
export function goProgram(program: string, module: string): string {
  const path = join(cacheDir, 'bin', program);
  if (!existsSync(path)) run('go', ['install', module], { GOBIN: join(cacheDir, 'bin') });
  return path;
}

/** A load generator in Go, built from bench/peers/<name>. */
export function goLoad(name: string): string {
  const path = join(cacheDir, 'bin', name);
  if (!existsSync(path)) run('go', ['build', '-C', join(import.meta.dirname, name), '-o', path, '.']);
  return path;
}

/** The Node clients of the peers; not dependencies of ours. */
export function nodeClients(): NodeJS.Require {
  const dir = join(cacheDir, 'npm');
  const missing = Object.keys(NPM).filter((name) => !existsSync(join(dir, 'node_modules', name)));
  if (missing.length > 0) {
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ private: true, dependencies: NPM }));
    run('npm', ['install', '--prefix', dir, '--no-audit', '--no-fund']);
  }
  return createRequire(join(dir, 'package.json'));
}

/** Class path of Kafka's server and tools. */
export function kafkaClasses(): string {
  const lib = join(cacheDir, 'kafka/lib');
  const isThere = existsSync(lib) && readdirSync(lib).some((name) => name.startsWith('kafka_'));
  if (!isThere) {
    const pom = join(cacheDir, 'kafka/pom.xml');
    mkdirSync(lib, { recursive: true });
    const tag = (name: string, content: string) => `<${name}>${content}</${name}>`;
    const project = (group: string, artifact: string, version: string) =>
      tag('groupId', group) + tag('artifactId', artifact) + tag('version', version);
    const needed = ['kafka_2.13', 'kafka-tools']
      .map((name) => tag('dependency', project('org.apache.kafka', name, KAFKA)))
      .join('');
    const self = tag('modelVersion', '4.0.0') + project('bench', 'peers', '1');
    writeFileSync(pom, tag('project', self + tag('dependencies', needed)));
    run('mvn', ['-q', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${lib}`]);
  }
  return `${lib}/*`;
}
