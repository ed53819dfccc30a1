// Manifests from files, folders and pipes, read as one set: what clashes between files is a problem as well.
//   F1. Nothing of more than 1 MiB is read. A file that cannot be read is a problem, never an exception.
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { conflicts, parseManifests, type SourcedResource } from '../crds/manifests.ts';
import { formatProblem, type Problem } from '../crds/problems.ts';
import { YAML_LIMITS } from '../crds/yaml-source.ts';
import { readInput } from './input.ts';
import type { Colors } from './terminal.ts';
import { count, printable } from './text.ts';

export interface ManifestSet {
  files: string[];
  resources: SourcedResource[];
  problems: Problem[];
  notices: Problem[];
  clusterOnly: Problem[];
}

const isManifest = (name: string) => /\.(?:ya?ml|json)$/.test(name) && !name.startsWith('.');

/** A folder stands for the manifests directly in it, in the order of their names, as with kubectl. */
export async function readManifests(paths: readonly string[], stdin?: Readable): Promise<ManifestSet> {
  const set: ManifestSet = { files: [], resources: [], problems: [], notices: [], clusterOnly: [] };
  for (const path of paths) {
    if (path === '-' && stdin) {
      add(set, 'standard input', Buffer.from(await readInput(stdin)).toString());
      continue;
    }
    try {
      for (const file of await expand(path)) await addFile(set, file);
    } catch (error) {
      set.problems.push(unreadable(path, error));
    }
  }
  if (set.problems.length === 0) set.problems.push(...conflicts(set.resources));
  return set;
}

async function expand(path: string): Promise<string[]> {
  const found = await stat(path);
  if (!found.isDirectory()) return [path];
  return (await readdir(path))
    .filter(isManifest)
    .sort()
    .map((name) => join(path, name));
}

async function addFile(set: ManifestSet, path: string): Promise<void> {
  const shown = relative('.', path).startsWith('..') ? path : relative('.', path);
  try {
    const { size } = await stat(path);
    const text = size > YAML_LIMITS.bytes ? undefined : await readText(path);
    if (text !== undefined) return add(set, shown, text);
    set.files.push(shown);
    const bytes = size > YAML_LIMITS.bytes ? `${count(size)} bytes` : 'more than 1 MiB';
    const message = `the file has ${bytes}, at most 1 MiB is read`;
    set.problems.push(wholeFile(shown, message, 'split it into several files'));
  } catch (error) {
    set.problems.push(unreadable(shown, error));
  }
}

/** undefined: there is more than the limit. A pipe or a device has no size beforehand. */
async function readText(path: string): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { end: YAML_LIMITS.bytes })) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  return bytes.length > YAML_LIMITS.bytes ? undefined : bytes.toString();
}

function add(set: ManifestSet, name: string, text: string): void {
  const { resources, problems, notices, clusterOnly } = parseManifests(text, name);
  set.files.push(name);
  set.resources.push(...resources);
  set.problems.push(...problems);
  set.notices.push(...notices);
  set.clusterOnly.push(...clusterOnly);
}

const wholeFile = (file: string, message: string, cure: string): Problem => ({
  ...{ file, document: 0, line: 1, column: 1, subject: '', field: '', excerpt: '' },
  message,
  cure,
});

function unreadable(path: string, error: unknown): Problem {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return wholeFile(path, 'there is no such file', 'check the path given with -f');
  return wholeFile(path, code === 'EACCES' ? 'may not be read' : message, 'check the file');
}

/** Names, sizes and times of all that would be read: another text means that something changed. */
export async function signatureOf(paths: readonly string[]): Promise<string> {
  const parts: string[] = [];
  for (const path of paths) {
    try {
      for (const file of await expand(path)) {
        const { size, mtimeMs, ino } = await stat(file);
        parts.push(`${file} ${size} ${mtimeMs} ${ino}`);
      }
    } catch (error) {
      parts.push(`${path} ${(error as NodeJS.ErrnoException).code}`);
    }
  }
  return parts.join('\n');
}

/** A problem with the line it is on and a mark below the place. */
export function problemText(problem: Problem, colors: Colors): string {
  const [place = '', cure = ''] = formatProblem(problem).split('\n    ');
  // A file as a whole has no line to look at.
  const where = problem.document === 0 ? place.replace(':1:1 ', ': ') : place;
  const lines = [colors.bold(printable(where)), `    ${colors.green(printable(cure))}`];
  if (problem.excerpt !== '') {
    const number = String(problem.line).padStart(5);
    const mark = ' '.repeat(Math.max(0, problem.column - 1));
    lines.splice(1, 0, colors.dim(`${number} | `) + printable(problem.excerpt));
    lines.splice(2, 0, `${colors.dim(`${' '.repeat(5)} | `)}${mark}${colors.red('^')}`);
  }
  return `${lines.join('\n')}\n`;
}

export function noticeText(notice: Problem, colors: Colors): string {
  const [where = ''] = formatProblem(notice).split('\n');
  return `${colors.yellow('note')} ${printable(where)}\n`;
}
