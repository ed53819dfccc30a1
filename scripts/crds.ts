// The definitions against what comes from them and what was released: types.ts and the reference are
// up to date, and no release would be broken. `--release` keeps today's definitions as those of this version.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { breaks, type DefinitionFile } from '../crds/compatibility.ts';
import { definitionFile, definitionOf, KINDS } from '../crds/definitions.ts';
import { typesSource } from '../crds/generate.ts';
import { resourceReference } from './generate/resource-reference.ts';

const repository = resolve(import.meta.dirname, '..');
const releasedDir = join(repository, 'crds/released');
export const resourceReferencePath = join(repository, 'docs/reference/resources.md');

const read = (path: string): DefinitionFile => parse(readFileSync(path, 'utf8'));

/** Every break of every release that `accepted` does not name, and every entry of it that names none. */
export function unaccepted(found: readonly string[], accepted: Readonly<Record<string, string>>): string[] {
  const stale = Object.keys(accepted).filter((each) => !found.includes(each));
  const silent = Object.entries(accepted).filter(([, reason]) => reason.trim().length < 10);
  return [
    ...found.filter((each) => !Object.hasOwn(accepted, each)),
    ...stale.map((each) => `crds/released/accepted.json: nothing breaks like this any more: ${each}`),
    ...silent.map(([each]) => `crds/released/accepted.json: give a reason for: ${each}`),
  ];
}

export function breaksOfReleases(dir = releasedDir): string[] {
  const versions = readdirSync(dir, { withFileTypes: true }).filter((each) => each.isDirectory());
  return versions.flatMap(({ name: version }) =>
    KINDS.flatMap((kind) => {
      const today = definitionFile(kind);
      const then = join(dir, version, basename(today));
      return existsSync(then) ? breaks(read(then), read(today)).map((each) => `${version} ${each}`) : [];
    }),
  );
}

function release(): void {
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  const dir = join(releasedDir, version);
  const isUnreleased = readFileSync(join(repository, 'CHANGELOG.md'), 'utf8').includes(
    `## ${version} (unreleased)`,
  );
  if (existsSync(dir) && !isUnreleased)
    throw new Error(`${version} is released: its definitions stay as they are`);
  mkdirSync(dir, { recursive: true });
  for (const kind of KINDS) copyFileSync(definitionFile(kind), join(dir, basename(definitionFile(kind))));
}

function stale(): string[] {
  const files: [path: string, text: string][] = [
    [join(repository, 'crds/types.ts'), typesSource(KINDS.map(definitionOf))],
    [resourceReferencePath, resourceReference()],
  ];
  return files
    .filter(([path, text]) => !existsSync(path) || readFileSync(path, 'utf8') !== text)
    .map(
      ([path]) => `${path.slice(repository.length + 1)} differs: run npm run generate and commit the result`,
    );
}

if (import.meta.main) {
  if (process.argv.includes('--release')) release();
  else if (process.argv.includes('--write')) writeFileSync(resourceReferencePath, resourceReference());
  else {
    const accepted = JSON.parse(readFileSync(join(releasedDir, 'accepted.json'), 'utf8'));
    const broken = unaccepted(breaksOfReleases(), accepted);
    for (const line of [...stale(), ...broken]) console.error(line);
    if (broken.length > 0) {
      console.error('see crds/released/README.md; a version that is not released yet: npm run crds:release');
    }
    if (stale().length + broken.length > 0) process.exitCode = 1;
  }
}
