// What a client asks about its connection and the server. None of it touches data, but for the walks in
// scans.ts.
import type { Fabric } from '../../services.ts';
import { at, word } from './command.ts';
import type { Place } from './executor.ts';
import { glob } from './glob.ts';
import { OK, Pairs, RedisError, type Reply, Simple } from './reply.ts';
import type { Scans } from './scans.ts';
import { COMMANDS } from './tables.ts';
import { integer, syntax } from './values.ts';

/** What of the connection these commands see and change. */
export interface Session {
  readonly id: number;
  readonly place: Place;
  readonly remote: string;
  protocol: 2 | 3;
  clientName: string;
  database: number;
  /** Throws RedisError WRONGPASS. */
  authenticate(password: string): void;
  /** Closes when the reply has left. */
  quit(): void;
}

export interface ServerParts {
  readonly fabric: Fabric;
  readonly scans: Scans;
  readonly version: string;
  readonly startedMs: number;
  readonly nowMs: () => number;
  readonly random: () => number;
  readonly connections: () => number;
  readonly port: () => number;
}

type Run = (session: Session, args: readonly Buffer[], server: ServerParts) => Reply | Promise<Reply>;

export interface SessionCommand {
  readonly arity: number;
  readonly run: Run;
  /** Allowed before AUTH. */
  readonly isOpen?: boolean;
  /** Asked of the permission table; none: anybody who may ask at all. */
  readonly verb?: 'get' | 'delete';
}

/** The Redis whose commands and answers these are. */
const REDIS_VERSION = '7.0.15';
const DATABASES = 16;

const unsupported = (what: string) => new RedisError(`ERR ${what} is not supported by FlowMesh`);

function hello(session: Session, args: readonly Buffer[]): Reply {
  let protocol: 2 | 3 = session.protocol;
  if (args.length > 1) {
    const asked = at(args, 1).toString('latin1');
    if (asked !== '2' && asked !== '3') throw new RedisError('NOPROTO unsupported protocol version');
    protocol = asked === '3' ? 3 : 2;
  }
  for (let i = 2; i < args.length; ) {
    const option = word(args[i]);
    if (option === 'AUTH' && i + 2 < args.length) {
      session.authenticate(at(args, i + 2).toString());
      i += 3;
    } else if (option === 'SETNAME' && i + 1 < args.length) {
      session.clientName = nameOf(at(args, i + 1));
      i += 2;
    } else throw new RedisError(`ERR Syntax error in HELLO option '${option.toLowerCase()}'`);
  }
  session.protocol = protocol;
  return new Pairs([
    ['server', 'redis'],
    ['version', REDIS_VERSION],
    ['proto', protocol],
    ['id', session.id],
    ['mode', 'standalone'],
    ['role', 'master'],
    ['modules', []],
  ]);
}

function nameOf(bytes: Buffer): string {
  const name = bytes.toString('latin1');
  if (/^[!-~]*$/.test(name) && name.length <= 256) return name;
  throw new RedisError('ERR Client names cannot contain spaces, newlines or special characters.');
}

function client(session: Session, args: readonly Buffer[]): Reply {
  const sub = word(args[1]);
  if (sub === 'ID') return session.id;
  if (sub === 'GETNAME') return session.clientName === '' ? null : session.clientName;
  if (sub === 'SETNAME' && args.length === 3) {
    session.clientName = nameOf(at(args, 2));
    return OK;
  }
  // What a library says of itself, and whether its keys may be evicted first: nothing here depends on it.
  if (sub === 'SETINFO' || sub === 'NO-EVICT' || sub === 'NO-TOUCH') return OK;
  if (sub === 'INFO' || sub === 'LIST') return `${line(session)}\n`;
  throw unsupported(`CLIENT ${sub}`);
}

const line = (s: Session) =>
  `id=${s.id} addr=${s.remote} name=${s.clientName} db=${s.database} resp=${s.protocol} ` +
  `user=${s.place.caller.identity}`;

function command(_: Session, args: readonly Buffer[]): Reply {
  const sub = word(args[1]);
  const names = [...COMMANDS.keys(), ...SESSION.keys()];
  if (sub === 'COUNT') return names.length;
  if (sub === 'LIST') return names.map((name) => name.toLowerCase());
  // redis-cli asks for hints; it does without.
  if (sub === 'DOCS') return new Pairs([]);
  if (sub === 'INFO') return args.slice(2).map((name) => described(word(name)));
  if (sub === '') return names.map(described);
  throw unsupported(`COMMAND ${sub}`);
}

function described(name: string): Reply {
  const data = COMMANDS.get(name);
  const own = SESSION.get(name);
  if (data === undefined && own === undefined) return null;
  const flags = (data?.flags ?? ['fast', 'loading']).map((flag) => new Simple(flag));
  return [name.toLowerCase(), data?.arity ?? own?.arity ?? 0, flags, ...(data?.keys ?? [0, 0, 0])];
}

/** Settings that libraries look at before they start. */
const SETTINGS: readonly (readonly [string, string])[] = [
  ['appendfsync', 'always'],
  ['appendonly', 'yes'],
  ['databases', String(DATABASES)],
  ['maxmemory', '0'],
  ['maxmemory-policy', 'noeviction'],
  ['proto-max-bulk-len', String(1024 * 1024)],
  ['save', ''],
  ['timeout', '0'],
];

function config(_: Session, args: readonly Buffer[]): Reply {
  const sub = word(args[1]);
  if (sub === 'RESETSTAT') return OK;
  if (sub !== 'GET' || args.length < 3) throw unsupported(`CONFIG ${sub}`);
  const wanted = args.slice(2).map((pattern) => glob(Buffer.from(pattern.toString('latin1').toLowerCase())));
  return new Pairs(SETTINGS.filter(([name]) => wanted.some((matches) => matches(Buffer.from(name)))));
}

async function info(session: Session, args: readonly Buffer[], server: ServerParts): Promise<Reply> {
  const { fabric, nowMs, startedMs, version, connections, port } = server;
  const uptime = Math.floor((nowMs() - startedMs) / 1000);
  const { keyspaces = [] } = await fabric.admin.listKeyspaces(session.place.caller);
  const databases = (keyspaces ?? []).flatMap(({ name, keys }) => {
    const database = databaseOf(name ?? '');
    return database === undefined ? [] : [`db${database}:keys=${keys ?? 0},expires=0,avg_ttl=0`];
  });
  const sections: [string, string[]][] = [
    [
      'Server',
      [
        `redis_version:${REDIS_VERSION}`,
        `flowmesh_version:${version}`,
        'redis_mode:standalone',
        `tcp_port:${port()}`,
        `uptime_in_seconds:${uptime}`,
      ],
    ],
    ['Clients', [`connected_clients:${connections()}`]],
    ['Memory', ['maxmemory:0', 'maxmemory_policy:noeviction']],
    ['Persistence', ['loading:0', 'aof_enabled:1', 'rdb_bgsave_in_progress:0']],
    ['Replication', ['role:master', 'connected_slaves:0']],
    ['Cluster', ['cluster_enabled:0']],
    ['Keyspace', databases],
  ];
  const wanted = new Set(args.slice(1).map(word));
  const isAll = wanted.size === 0 || ['ALL', 'DEFAULT', 'EVERYTHING'].some((each) => wanted.has(each));
  return sections
    .filter(([name]) => isAll || wanted.has(name.toUpperCase()))
    .map(([name, lines]) => `# ${name}\r\n${lines.map((each) => `${each}\r\n`).join('')}`)
    .join('\r\n');
}

/** Database 0 is the keyspace `default`, so that every API sees the same keys; n is `db<n>`. */
export const keyspaceOf = (database: number): string => (database === 0 ? 'default' : `db${database}`);

function databaseOf(keyspace: string): number | undefined {
  if (keyspace === 'default') return 0;
  const match = /^db([1-9][0-9]?)$/.exec(keyspace);
  return match === null || Number(match[1]) >= DATABASES ? undefined : Number(match[1]);
}

function select(session: Session, args: readonly Buffer[]): Reply {
  const database = integer(at(args, 1));
  if (database < 0 || database >= DATABASES) throw new RedisError('ERR DB index is out of range');
  session.database = database;
  return OK;
}

async function databaseSize(session: Session, _: readonly Buffer[], { fabric }: ServerParts): Promise<Reply> {
  const { keyspaces = [] } = await fabric.admin.listKeyspaces(session.place.caller);
  return Number((keyspaces ?? []).find(({ name }) => name === session.place.keyspace)?.keys ?? 0);
}

function time(_: Session, __: readonly Buffer[], { nowMs }: ServerParts): Reply {
  const ms = nowMs();
  return [String(Math.floor(ms / 1000)), String(Math.floor(ms % 1000) * 1000)];
}

export const SESSION: ReadonlyMap<string, SessionCommand> = new Map<string, SessionCommand>([
  ['HELLO', { arity: -1, run: hello, isOpen: true }],
  [
    'AUTH',
    {
      arity: -2,
      isOpen: true,
      run: (s, a) => {
        if (a.length > 3) throw syntax();
        s.authenticate((a[2] ?? at(a, 1)).toString());
        return OK;
      },
    },
  ],
  [
    'QUIT',
    {
      arity: -1,
      isOpen: true,
      run: (s) => {
        s.quit();
        return OK;
      },
    },
  ],
  [
    'PING',
    {
      arity: -1,
      run: (_, a) => {
        if (a.length > 2) throw new RedisError("ERR wrong number of arguments for 'ping' command");
        return a[1] ?? new Simple('PONG');
      },
    },
  ],
  ['ECHO', { arity: 2, run: (_, a) => at(a, 1) }],
  ['SELECT', { arity: 2, run: select }],
  ['CLIENT', { arity: -2, run: client }],
  ['COMMAND', { arity: -1, run: command }],
  ['CONFIG', { arity: -2, run: config }],
  ['INFO', { arity: -1, run: info }],
  ['TIME', { arity: 1, run: time }],
  ['DBSIZE', { arity: 1, run: databaseSize, verb: 'get' }],
  ['KEYS', { arity: 2, verb: 'get', run: (s, a, { scans }) => scans.keys(s.place, a) }],
  [
    'RANDOMKEY',
    { arity: 1, verb: 'get', run: (s, _, { scans, random }) => scans.randomKey(s.place, random) },
  ],
  ['SCAN', { arity: -2, verb: 'get', run: (s, a, { scans }) => scans.scan(s.place, a) }],
  ['HSCAN', { arity: -3, verb: 'get', run: (s, a, { scans }) => scans.scanMembers(s.place, a, 'hash') }],
  ['SSCAN', { arity: -3, verb: 'get', run: (s, a, { scans }) => scans.scanMembers(s.place, a, 'set') }],
  ['ZSCAN', { arity: -3, verb: 'get', run: (s, a, { scans }) => scans.scanMembers(s.place, a, 'zset') }],
  ['FLUSHDB', { arity: -1, verb: 'delete', run: (s, _, { scans }) => scans.flush(s.place) }],
]);
