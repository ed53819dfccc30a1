// Completion in the shells themselves: keys are typed, and what the shell makes of them is looked at.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { flowmesh } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-completion-'));
beforeAll(async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    writeFileSync(join(dir, `flowmesh.${shell}`), (await flowmesh(`completion ${shell}`)).out);
  }
  writeFileSync(join(dir, 'orders.yaml'), '');
});
afterAll(() => rmSync(dir, { recursive: true }));

const isThere = (shell: string) => spawnSync(shell, ['-c', 'exit 0']).status === 0;
const titled = (shell: string) => `${shell}${isThere(shell) ? '' : ' (not installed here)'}`;

/** What is typed, with | for the Tab key, and the command that is run then. */
const typed: readonly [keys: string, command: string][] = [
  ['flowmesh que|pu|', 'queue purge'],
  ['flowmesh -o js|ki|', '-o json ki'],
  ['flowmesh -o js|kv ins|', '-o json kv inspect'],
  ['flowmesh kv -k sessions zsc|', 'kv -k sessions zscore'],
  ['flowmesh --address localhost:7070 sta|', '--address localhost:7070 status'],
  ['flowmesh queue declare q --max-att|5', 'queue declare q --max-attempts 5'],
  ['flowmesh queue jobs q --state lea|', 'queue jobs q --state leased'],
  ['flowmesh kv ls --type zs|', 'kv ls --type zset'],
  // The same option takes any text there.
  ['flowmesh kv set k v --type zs|', 'kv set k v --type zs'],
  ['flowmesh apply -f ord|', 'apply -f orders.yaml'],
  // Here -f takes nothing, so no file either.
  ['flowmesh stream tail s -f ord|', 'stream tail s -f ord'],
  // A name that is a command elsewhere.
  ['flowmesh queue get jobs --he|', 'queue get jobs --help'],
  ['flowmesh dev --log-level sil|--ephem|', 'dev --log-level silent --ephemeral'],
  ['flowmesh completion zs|', 'completion zsh'],
];

test.skipIf(!isThere('bash'))(`commands, options and choices complete in ${titled('bash')}`, () => {
  const rc = `cd ${dir}\nsource flowmesh.bash\nflowmesh() { echo "<$*>"; }\n`;
  writeFileSync(join(dir, 'rc'), rc);
  const input = [...typed.map(([keys]) => keys.replaceAll('|', '\t')), 'exit\n'].join('\n');
  const env = { PATH: process.env['PATH'], TERM: 'dumb', HISTFILE: '', INPUTRC: '/dev/null' };
  const { stdout } = spawnSync('bash', ['--rcfile', join(dir, 'rc'), '-i'], { input, env, encoding: 'utf8' });
  expect(ran(stdout)).toEqual(typed.map(([, command]) => command));
});

/** The commands that the stand-in for flowmesh wrote. */
const ran = (output: string) => [...output.matchAll(/<([^>]*)>/g)].map(([, words = '']) => words.trim());

test.skipIf(!isThere('bash'))(`what can follow is offered, and only that, in ${titled('bash')}`, () => {
  const offered = (line: string) => {
    const script = `compopt() { :; }; source ${dir}/flowmesh.bash
      COMP_WORDS=(${line} ''); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _flowmesh; echo "\${COMPREPLY[*]}"`;
    return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim().split(' ');
  };
  const commands = (words: string) => expect.arrayContaining(words.split(' '));
  expect(offered('flowmesh')).toEqual(commands('dev apply kv queue stream status completion help'));
  expect(offered('flowmesh stream')).toEqual(commands('ls get declare write read tail groups seek delete'));
  expect(offered('flowmesh stream')).not.toContain('peek');
  expect(offered('flowmesh kv ls --type')).toEqual('string hash set zset'.split(' '));
  expect(offered('flowmesh queue jobs q --limit')).toEqual(['']);
  expect(offered('flowmesh queue jobs q')).toEqual(['']);
  expect(offered('flowmesh --address')).toEqual(['']);
  expect(offered('flowmesh --address localhost:7070 kv -k')).toEqual(['']);
});

test.skipIf(!isThere('zsh'))(`commands, options and choices complete in ${titled('zsh')}`, () => {
  const script = [
    'zmodload zsh/zpty; zpty z zsh -f -i',
    `zpty -w z 'cd ${dir}; autoload -Uz compinit; compinit -u -D; PS1=; source ./flowmesh.zsh'`,
    `zpty -w z 'flowmesh() { print -r -- "<$*>" }; print "<""ready>"'; zpty -r z out '*<ready>*'`,
    ...typed.map(
      ([keys]) => `zpty -w z $'${keys.replaceAll('|', '\\t')}'; zpty -r z out '*>*'; print -r $out`,
    ),
  ].join('\n');
  const output = execFileSync('zsh', ['-f', '-c', script], { encoding: 'utf8', timeout: 20_000 });
  expect(ran(output)).toEqual(typed.map(([, command]) => command));
});

test.skipIf(!isThere('fish'))(`commands, options and choices complete in ${titled('fish')}`, () => {
  const script = `cd ${dir}; source flowmesh.fish; for line in $argv
    echo "<"(complete -C $line | cut -f1)">"; end`;
  const lines = [
    'flowmesh queue pu',
    'flowmesh kv ls --type zs',
    'flowmesh kv set k v --type zs',
    'flowmesh apply -f ord',
    'flowmesh stream tail s -f ord',
    'flowmesh queue declare q --max-att',
    'flowmesh -o js',
  ];
  const output = execFileSync('fish', ['--no-config', '-c', script, ...lines], { encoding: 'utf8' });
  expect(ran(output)).toEqual(['purge', 'zset', 'orders.yaml', '--max-attempts', 'json']);
});
