// A wrong command line: what is wrong, what was meant, exit code 2, and nothing done.
import { expect, test } from 'vitest';
import { flowmesh } from './support.ts';

test.each([
  ['kvv', "unknown command 'kvv'", 'did you mean kv?'],
  ['kv st k v', "unknown command 'st'", 'did you mean set?'],
  ['kv list', "unknown command 'list'", 'did you mean ls?'],
  ['queue publish q x', "unknown command 'publish'", 'what there is: flowmesh queue --help'],
  ['stream publish s x', "unknown command 'publish'", 'did you mean write?'],
  ['queue create q', "unknown command 'create'", 'did you mean declare?'],
  ['kv help', "unknown command 'help'", 'what there is: flowmesh kv --help'],
  ['constructor', "unknown command 'constructor'", 'what there is: flowmesh --help'],
  ['\u001b[31m', "unknown command '\\e[31m'", 'what there is: flowmesh --help'],
  ['kv set k v --tl 5s', "unknown option '--tl'", 'did you mean --ttl?'],
  ['kv set k v --zzz', "unknown option '--zzz'", 'what there is: flowmesh kv set --help'],
  ['kv set', "missing required argument 'key'", 'usage: flowmesh kv set [options] <key> [value]'],
  ['kv get', "missing required argument 'key'", 'usage: flowmesh kv get [options] <key>'],
  [
    'kv hset h',
    "missing required argument 'pairs'",
    'usage: flowmesh kv hset <key> <field> <value> [<field> <value> ...]',
  ],
  [
    'status x',
    "too many arguments for 'status'. Expected 0 arguments but got 1: x",
    'usage: flowmesh status',
  ],
  [
    'validate',
    "required option '-f, --filename <path...>' not specified",
    'usage: flowmesh validate [options]',
  ],
  ['kv get k --token', "option '--token <token>' argument missing", 'usage: flowmesh [options] [command]'],
  [
    '-o xml status',
    "option '-o, --output <format>' argument 'xml' is invalid",
    'allowed choices are table, json',
  ],
  [
    'kv ls --type hsh',
    "option '--type <type>' argument 'hsh' is invalid",
    'allowed choices are string, hash, set, zset',
  ],
  [
    'kv set k v --ttl 5x',
    "option '--ttl <duration>' argument '5x' is invalid",
    'write a number and a unit: 500ms, 90s, 5m, 24h or 7d',
  ],
  [
    'kv set k v --ttl 0s',
    "option '--ttl <duration>' argument '0s' is invalid",
    'write a number and a unit: 500ms, 90s, 5m, 24h or 7d',
  ],
  [
    'kv expire k 5',
    "value '5' of argument 'ttl' is invalid",
    'write a number and a unit: 500ms, 90s, 5m, 24h or 7d',
  ],
  ['kv incr n 1.5', "value '1.5' of argument 'by' is invalid", 'write a whole number'],
  ['kv zincr z m x', "value 'x' of argument 'by' is invalid", 'write a number'],
  ['queue ack q id 0', "value '0' of argument 'epoch' is invalid", 'write a whole number from 1'],
  [
    'queue peek q --limit 0',
    "option '--limit <n>' argument '0' is invalid",
    'write a whole number from 1 to 1000',
  ],
  [
    'queue enqueue q x --priority 256',
    "option '--priority <n>' argument '256' is invalid",
    'write a whole number from 0 to 255',
  ],
  [
    'queue enqueue q x -H =b',
    "option '-H, --header <name=value>' argument '=b' is invalid",
    'write name=value',
  ],
  [
    'stream declare s --retention-size 5x',
    "option '--retention-size <size>' argument '5x' is invalid",
    'write a number and a unit: 512Mi, 1Gi or 20Gi',
  ],
  [
    'stream seek s g --to x',
    "option '--to <position>' argument 'x' is invalid",
    'write earliest, latest or an offset',
  ],
  ['stream seek s g', 'say where to', '--to earliest, --to latest, --to 1042 or --time 15m'],
  [
    'stream read s --time soon',
    "option '--time <time>' argument 'soon' is invalid",
    'write a time such as 2026-01-31T12:00:00Z, or how long ago: 15m',
  ],
  [
    'stream read s --time 5m --offset 1',
    "option '--time <time>' cannot be used with option '--offset <n>'",
    'usage: flowmesh stream read [options] <stream>',
  ],
  [
    'queue nack q id 1 --dead --release',
    "option '--dead' cannot be used with option '--release'",
    'usage: flowmesh queue nack [options] <queue> <id> <epoch>',
  ],
  ['kv hset h a', 'the last field has no value', ''],
  ['kv zadd z one a', 'one is not a score', 'scores come first: zadd key 1 a'],
  ['dev --shards 0', "option '--shards <n>' argument '0' is invalid", 'write a whole number from 1 to 1024'],
  [
    'dev --grpc-port 65536',
    "option '--grpc-port <port>' argument '65536' is invalid",
    'write a whole number from 0 to 65535',
  ],
  [
    'dev --host a/b',
    "option '--host <host>' argument 'a/b' is invalid",
    'write a host name or an IP address',
  ],
  [
    'dev --ephemeral --data d',
    "option '--ephemeral' cannot be used with option '--data <dir>'",
    'usage: flowmesh dev [options]',
  ],
  ['completion tcsh', "value 'tcsh' of argument 'shell' is invalid", 'allowed choices are bash, zsh, fish'],
])('%j', async (line, message, hint) => {
  const { code, out, err, calls } = await flowmesh(line);
  expect(err).toBe(`error: ${message}\n${hint === '' ? '' : `  ${hint}\n`}`);
  expect([code, out, calls]).toEqual([2, '', []]);
});

test('scripts get a wrong command line as JSON too, wherever they asked for it', async () => {
  for (const line of ['-o json kv set', 'kv set -o json', 'kv set --output=json']) {
    const { code, out, err } = await flowmesh(line);
    expect([code, out]).toEqual([2, '']);
    expect(JSON.parse(err)).toEqual({
      error: {
        code: null,
        message: "missing required argument 'key'",
        hint: 'usage: flowmesh kv set [options] <key> [value]',
      },
    });
  }
});

test('without a command one gets help, as an error; asked for, it is none', async () => {
  const bare = await flowmesh('kv');
  const asked = await flowmesh('kv --help');
  expect(bare).toMatchObject({ code: 2, out: '' });
  expect(asked).toMatchObject({ code: 0, err: '' });
  expect(bare.err).toBe(asked.out);
  expect((await flowmesh('help kv')).out).toBe(asked.out);
  expect(await flowmesh('--version')).toMatchObject({ code: 0, out: '1.2.3\n' });
});

test('help fits the terminal, and shows an example', async () => {
  const { out } = await flowmesh('queue declare --help', {}, { tty: true, columns: 90 });
  expect(Math.max(...out.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(90);
  expect(out).toContain('Example:\n  flowmesh queue declare emails.send --max-attempts 5 --backoff-max 5m\n');
});
