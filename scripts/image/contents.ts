// What is in the FlowMesh image: Node, the libraries it links, the sources, the packages they need; no more.
//   1. No shell, no package manager, no test, no development package; packages as package-lock.json has them.
//   2. Runs as the repository does: TypeScript whose types Node strips; lines in a trace are the source's.
//   3. The Dockerfile and build.ts both write exactly this.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { arch } from 'node:process';
import type { Image } from './oci.ts';
import { architecture } from './platform.ts';
import type { Tree } from './tar.ts';

/** "nonroot" of most minimal images: a number, so that Kubernetes sees that it is not root. */
const USER = 65_532;
const APP = 'app';
const NODE = `node-linux-${arch}`;
/** `kubectl exec POD -- flowmesh ...`: an interpreter line takes one argument, and there is no shell. */
const COMMAND = `#!/usr/local/bin/node --conditions=flowmesh-source\nimport('/${APP}/cli/main.ts');\n`;
const sources = ['cli', 'crds', 'dataplane', 'operator', 'proto', 'sdk/node'];
/** Packages that are types only, or the Node that is in the layer below. */
const leftOut = /^node_modules\/(?:@types\/|undici-types$|node-(?:bin-)?(?:linux|darwin)-)/;

export function flowmeshImage(repository: string, name: string): Image {
  const { version } = readJson(join(repository, 'package.json'));
  return {
    name,
    // Node changes a few times a year, packages now and then, the sources with every build.
    layers: [nodeLayer(repository), packagesLayer(repository), sourcesLayer(repository)],
    entrypoint: ['/usr/local/bin/node', '--conditions=flowmesh-source', `/${APP}/cli/main.ts`],
    user: `${USER}:${USER}`,
    env: { NODE_ENV: 'production' },
    workingDir: `/${APP}`,
    ports: [7070, 7080, 6379],
    labels: {
      'org.opencontainers.image.title': 'FlowMesh',
      'org.opencontainers.image.version': version,
    },
    architecture,
  };
}

function nodeLayer(repository: string): Tree {
  const binary = join(repository, 'node_modules', NODE, 'bin/node');
  if (!existsSync(binary)) throw new Error(`${binary} is missing: npm install has not brought it`);
  const libraries = [...execFileSync('ldd', [binary], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)];
  return {
    'usr/local/bin/node': { from: binary },
    // Where the loader looks first, whatever the machine's own layout; the loader itself has a fixed place.
    ...Object.fromEntries(
      libraries.map(([, path = '']) => [
        basename(path).startsWith('ld-linux') ? path.slice(1) : `usr/lib/${basename(path)}`,
        { from: realpathSync(path) },
      ]),
    ),
    'etc/passwd': { data: `root:x:0:0:root:/:/nologin\nflowmesh:x:${USER}:${USER}::/tmp:/nologin\n` },
    'etc/group': { data: `root:x:0:\nflowmesh:x:${USER}:\n` },
    'etc/nsswitch.conf': { data: 'hosts: files dns\n' },
  };
}

function packagesLayer(repository: string): Tree {
  const tree: Tree = {};
  const { packages } = readJson(join(repository, 'package-lock.json'));
  for (const [path, entry] of Object.entries<{ dev?: boolean; link?: boolean; resolved?: string }>(
    packages,
  )) {
    if (!path.startsWith('node_modules/') || entry.dev === true || leftOut.test(path)) continue;
    if (entry.link === true) tree[`${APP}/${path}`] = { link: `../../${entry.resolved}` };
    // The packages in a package are in the lock file themselves.
    else addFiles(tree, repository, path, (file) => file !== `${path}/node_modules` && isOfPackage(file));
  }
  return tree;
}

function sourcesLayer(repository: string): Tree {
  const tree: Tree = {
    [`${APP}/package.json`]: { from: join(repository, 'package.json') },
    'usr/local/bin/flowmesh': { data: COMMAND, executable: true },
  };
  for (const path of sources)
    if (existsSync(join(repository, path))) addFiles(tree, repository, path, isSource);
  return tree;
}

type Filter = (path: string) => boolean;

/** Without what only its makers need; of native parts only what is built, for this platform. */
const isOfPackage: Filter = (path) =>
  !/\/(?:tests?|benchmarks?|\.github)$|\.(?:md|map|d\.[cm]?ts|cc|gypi?)$/.test(path) &&
  !path.endsWith('classic-level/deps') &&
  (!path.includes('/prebuilds/') || path.includes(`/prebuilds/linux-${arch}`));

const isSource: Filter = (path) =>
  !/\/(?:test|dist|node_modules)$|\.(?:test\.ts|md)$|\/tsconfig[^/]*$|\/generate\.ts$/.test(path);

function addFiles(tree: Tree, repository: string, path: string, filter: Filter): void {
  for (const name of readdirSync(join(repository, path)).sort()) {
    const inside = `${path}/${name}`;
    const from = join(repository, inside);
    const isFolder = statSync(from).isDirectory();
    if (!filter(inside)) continue;
    if (isFolder) addFiles(tree, repository, inside, filter);
    else tree[`${APP}/${inside}`] = { from };
  }
}

function readJson(path: string) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
