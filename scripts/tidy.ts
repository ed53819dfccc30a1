// The rules of the house that neither the compiler nor the linter can say. `tidy` is pure: files in, findings
// out; test/tidy has a bad sample for every rule.
//   T1 import direction and declared packages   T2 clock, chance and environment are arguments
//   T3 at most 400 lines, unless generated; or an entry with a reason in tidy/ratchet.json, which may only
//      shrink
//   T4 no leftovers of an edit                   T5 at most 110 columns
//   T6 every rule of docs/spec has a test and every id in a title is a rule (tidy/spec.ts)

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix, resolve } from 'node:path';
import { allowedFrom, mayImport, partOf, pureParts } from './tidy/layers.ts';
import { specFindings } from './tidy/spec.ts';

export interface SourceFile {
  path: string;
  text: string;
}

export interface Finding {
  path: string;
  line: number;
  rule: 'T1' | 'T2' | 'T3' | 'T4' | 'T5' | 'T6';
  message: string;
}

export interface House {
  /** Package directory ('' is the root) -> the packages it declares. */
  packages: Record<string, string[]>;
  ratchet: Record<string, { lines: number; reason: string }>;
}

const linesMax = 400;
const columnsMax = 110;

export function tidy(files: SourceFile[], house: House): Finding[] {
  const findings = files.flatMap((file) => {
    const code = withoutCommentsAndStrings(file.text);
    return [
      ...imports(file, house),
      ...banned(file, code),
      ...size(file, house.ratchet),
      ...leftovers(file, code),
      ...columns(file),
    ];
  });
  return [...findings, ...staleRatchet(files, house.ratchet)];
}

const importPattern =
  /^[ \t]*(?:import|export)\s(?:[^'"`;=()]*?\sfrom\s*)?(['"])([^'"\n]+)\1|\bimport\(\s*(['"])([^'"\n]+)\3/gm;

function imports(file: SourceFile, house: House): Finding[] {
  const part = partOf(file.path);
  if (part === undefined) {
    const message = `${posix.dirname(file.path)} has no place in scripts/tidy/layers.ts; give it one`;
    return [{ path: file.path, line: 1, rule: 'T1', message }];
  }
  return [...file.text.matchAll(importPattern)].flatMap((match) => {
    const specifier = match[2] ?? match[4] ?? '';
    const message = importProblem(file.path, part, specifier, house);
    return message
      ? [{ path: file.path, line: lineAt(file.text, match.index), rule: 'T1' as const, message }]
      : [];
  });
}

function importProblem(path: string, part: string, specifier: string, house: House): string | undefined {
  if (specifier.startsWith('node:')) return undefined;
  const isTest = /(?:^|\/)test\/|\.test\.ts$/.test(path);
  const name = packageOf(specifier);
  const target = name ? workspaces[name] : partOf(posix.join(posix.dirname(path), specifier));
  if (target !== undefined && !isTest && !mayImport(part, target)) {
    return `${part} must not import ${specifier} (${target}); it may import ${allowedFrom(part)}`;
  }
  if (!name) return undefined;
  const owner = Object.keys(house.packages).find((dir) => dir !== '' && path.startsWith(`${dir}/`)) ?? '';
  const declared = [...(house.packages[owner] ?? []), ...(isTest ? (house.packages[''] ?? []) : [])];
  if (declared.includes(name)) return undefined;
  return `${name} is not declared in ${posix.join(owner, 'package.json')}`;
}

const workspaces: Record<string, string> = { '@flowmesh/protocol': 'proto', '@flowmesh/client': 'sdk' };

function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith('.')) return undefined;
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

interface Ban {
  pattern: RegExp;
  instead: string;
  /** Only where decisions are pure; the rest of the data plane and the operator may. */
  pureOnly?: boolean;
}

const bans: Ban[] = [
  {
    pattern: /\bDate\.now\b|\bnew Date\(\)/,
    instead: 'take the time from the clock of the Runtime argument',
  },
  {
    pattern: /\bperformance\.now\b|\bprocess\.hrtime\b/,
    instead: 'use the clock of Runtime',
    pureOnly: true,
  },
  { pattern: /\bMath\.random\b/, instead: 'use the random source of the Runtime argument' },
  { pattern: /\brandomUUID\b/, instead: 'take ids from the random source of the Runtime argument' },
  { pattern: /(?<![.\w])setTimeout\b/, instead: 'use the timers of the Runtime argument', pureOnly: true },
  { pattern: /(?<![.\w])setInterval\b/, instead: 'use the timers of the Runtime argument', pureOnly: true },
  {
    pattern: /\bglobalThis\.set(?:Timeout|Interval)\b/,
    instead: 'use the timers of Runtime',
    pureOnly: true,
  },
  { pattern: /\bprocess\.env\b/, instead: 'main.ts reads the environment and passes a value' },
  { pattern: /\bconsole\b(?=\s*[.[])/, instead: 'use the logger that is passed in' },
];

function banned({ path, text }: SourceFile, code: string): Finding[] {
  const part = partOf(path) ?? '';
  if (!/^(?:dataplane|operator)(?:\/|$)/.test(part) || /\/(?:runtime[^/]*(?:\/|$)|main\.ts$)/.test(path))
    return [];
  if (path.endsWith('.test.ts')) return [];
  return bans
    .filter((ban) => !ban.pureOnly || pureParts.has(part))
    .flatMap(({ pattern, instead }) =>
      matches(code, pattern).map(({ line, found }) => ({ path, line, rule: 'T2' as const, found, instead })),
    )
    .concat(pureParts.has(part) ? timerImports(path, text) : [])
    .map(({ found, instead, ...where }) => ({
      ...where,
      message: `${found} is not for this file: ${instead}`,
    }));
}

// Imported timers hide behind any name.
function timerImports(path: string, text: string) {
  return matches(text, /from\s*['"](?:node:)?timers(?:\/promises)?['"]/).map(({ line }) => ({
    path,
    line,
    rule: 'T2' as const,
    found: 'node:timers',
    instead: 'use the timers of the Runtime argument',
  }));
}

function size({ path, text }: SourceFile, ratchet: House['ratchet']): Finding[] {
  if (text.trimStart().startsWith('// Generated by ')) return [];
  const lines = lineCount(text);
  const granted = ratchet[path]?.lines ?? linesMax;
  if (lines <= granted) return [];
  const message = `${lines} lines, at most ${granted}: split it by decision`;
  return [{ path, line: granted, rule: 'T3', message }];
}

function staleRatchet(files: SourceFile[], ratchet: House['ratchet']): Finding[] {
  return Object.entries(ratchet).flatMap(([path, { lines, reason }]) => {
    const file = files.find((each) => each.path === path);
    const now = file ? lineCount(file.text) : 0;
    const at = { path: 'scripts/tidy/ratchet.json', line: 1, rule: 'T3' as const };
    if (reason.trim().length < 10) return [{ ...at, message: `${path}: give a reason` }];
    if (now <= linesMax) return [{ ...at, message: `${path} has ${now} lines: remove its entry` }];
    if (now < lines) return [{ ...at, message: `${path} has ${now} lines: lower its entry from ${lines}` }];
    return [];
  });
}

const fixMarker = new RegExp(`\\bFIX${'ME'}\\b`);
const onlyMarker = /\b(?:test|it|describe|suite|bench)(?:\.\w+)*\.only\b/;

function leftovers({ path, text }: SourceFile, code: string): Finding[] {
  const marked = matches(text, fixMarker).map(({ line }) => ({
    line,
    message: 'fix it, or write a TODO(#issue)',
  }));
  const only = matches(code, onlyMarker).map(({ line, found }) => ({
    line,
    message: `${found} skips all others`,
  }));
  return [...marked, ...only].map((each) => ({ path, rule: 'T4' as const, ...each }));
}

function columns({ path, text }: SourceFile): Finding[] {
  return text.split('\n').flatMap((content, index) => {
    if (content.length <= columnsMax || content.includes('https://')) return [];
    const message = `${content.length} columns, at most ${columnsMax}`;
    return [{ path, line: index + 1, rule: 'T5' as const, message }];
  });
}

// Replaced by blanks of the same length, so that positions stay. Templates with expressions are kept.
const ignorable =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\$]|\$(?!\{))*`/g;

function withoutCommentsAndStrings(text: string): string {
  return text.replace(ignorable, (part) => part.replace(/[^\n]/g, ' '));
}

function matches(text: string, pattern: RegExp): { line: number; found: string }[] {
  return [...text.matchAll(new RegExp(pattern, 'g'))].map((match) => ({
    line: lineAt(text, match.index),
    found: match[0],
  }));
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

function lineCount(text: string): number {
  return text.replace(/\n$/, '').split('\n').length;
}

export function readSpecs(repository: string): SourceFile[] {
  const dir = join(repository, 'docs/spec');
  if (!existsSync(dir)) return [];
  return readdirSync(dir).map((name) => ({
    path: `docs/spec/${name}`,
    text: readFileSync(join(dir, name), 'utf8'),
  }));
}

/** Every TypeScript file that git knows or would add, except what is generated. */
export function repositoryFiles(repository: string): SourceFile[] {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.ts'];
  const paths = execFileSync('git', list, { cwd: repository, encoding: 'utf8' }).split('\0');
  return [...new Set(paths)]
    .filter((path) => path !== '' && !path.startsWith('proto/gen/') && !path.startsWith('ui/'))
    .filter((path) => existsSync(join(repository, path)))
    .map((path) => ({ path, text: readFileSync(join(repository, path), 'utf8') }));
}

export function readHouse(repository: string): House {
  const json = (path: string) => JSON.parse(readFileSync(join(repository, path), 'utf8'));
  const packages: House['packages'] = {};
  for (const dir of ['', ...json('package.json').workspaces]) {
    const { dependencies = {}, devDependencies = {} } = json(join(dir, 'package.json'));
    packages[dir] = Object.keys({ ...dependencies, ...devDependencies });
  }
  return { packages, ratchet: json('scripts/tidy/ratchet.json') };
}

if (import.meta.main) {
  const repository = resolve(import.meta.dirname, '..');
  const files = repositoryFiles(repository);
  const findings = [...tidy(files, readHouse(repository)), ...specFindings(readSpecs(repository), files)];
  for (const { path, line, rule, message } of findings) console.error(`${path}:${line} ${rule} ${message}`);
  if (findings.length > 0) process.exitCode = 1;
}
