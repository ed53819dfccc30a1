// The file of `flowmesh serve`: what a server is to be, as a ConfigMap holds it. FIELDS is all of it, and
// docs/reference/serve.md is tested against it.
//   F1. A field that is not known, or not right, is refused with its place.
//   F2. It holds no secret: certificates and tokens are files of their own, named here.
import { networkInterfaces } from 'node:os';
import { type Document, parseDocument } from 'yaml';
import { ENGINES } from '../../crds/notices.ts';
import { nearest } from '../../crds/suggest.ts';
import { parseDurationMs, parseSizeBytes } from '../../crds/values.ts';
import type { ServerOptions } from '../../dataplane/main.ts';
import { CliError } from '../failure.ts';

interface Field {
  readonly what: string;
  /** Undefined: it is not. */
  readonly read: (value: unknown) => unknown;
  /** In the words of the reference. */
  readonly defaultText: string;
}

const field = (what: string, read: Field['read'], defaultText = 'none'): Field => ({
  what,
  read,
  defaultText,
});

const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);
const flag = (value: unknown) => (typeof value === 'boolean' ? value : undefined);
const whole = (min: number, max: number) => (value: unknown) =>
  typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined;
const oneOf =
  (...words: string[]) =>
  (value: unknown) =>
    words.find((word) => word === value);
const size = (value: unknown) => (typeof value === 'string' ? parseSizeBytes(value) : undefined);
const duration = (value: unknown) => (typeof value === 'string' ? parseDurationMs(value) : undefined);
const hostName = (value: unknown) =>
  typeof value === 'string' && /^[\w.:-]+$/.test(value) ? value : undefined;
const names = (value: unknown) =>
  Array.isArray(value) && value.every((each) => typeof each === 'string' && each !== '') ? value : undefined;

const port = field('a port, 0 to 65535; 0 takes any free one', whole(0, 65_535));
const host = field('an address to listen on; `::` and `0.0.0.0` are all there are', hostName, '127.0.0.1');

export const FIELDS: Readonly<Record<string, Field>> = {
  dataDir: field('a directory', text),
  ephemeral: field('true or false: everything in memory, gone at the end; instead of dataDir', flag, 'false'),
  shards: field('a whole number, 1 to 1024; fixed when the data is created', whole(1, 1024), '1'),
  autoCreate: field('true or false: queues and streams appear at first use', flag, 'false'),
  logLevel: field(
    'debug, info, warn, error or silent',
    oneOf('debug', 'info', 'warn', 'error', 'silent'),
    'info',
  ),
  'listeners.grpc.host': host,
  'listeners.grpc.port': { ...port, defaultText: '7070' },
  'listeners.http.host': host,
  'listeners.http.port': { ...port, defaultText: '7080' },
  'listeners.redis.host': host,
  'listeners.redis.port': { ...port, defaultText: '6379, if there is `listeners.redis`' },
  allowedHosts: field(
    'a list of names that HTTP answers to; `*.example` are those directly below',
    names,
    'localhost',
  ),
  'tls.certFile': field('a file: the certificate and its chain, PEM', text),
  'tls.keyFile': field('a file: its private key, PEM', text),
  'tls.caFile': field('a file: authorities of client certificates, PEM', text),
  'tls.caTrustedFor': field(
    'Everything, or Scaling: of the certificate `flowmesh-scaler` alone',
    oneOf('Everything', 'Scaling'),
    'Everything',
  ),
  'tls.clientCertificates': field('Optional or Required', oneOf('Optional', 'Required'), 'Optional'),
  tokenFile: field('a file: one token a line, all of them valid', text),
  insecure: field('true or false: let anyone in, also from other machines', flag, 'false'),
  reloadInterval: field('a duration: how often certificates and tokens are looked at', duration, '5s'),
  drainTimeout: field('a duration: how long calls may take to finish at the end', duration, '20s'),
  keysMemory: field('a size: memory for keys that are kept at hand', size, '256Mi, at most an eighth of all'),
  memoryLimit: field('a size: no new data near it', size, 'what the container or the machine has'),
  'journal.engine': field('Embedded; JetStream is not served by this version', oneOf(...ENGINES), 'Embedded'),
};

const TEXT_BYTES_MAX = 1024 * 1024;
/** What a process is given to end in is more than this: `terminationGracePeriodSeconds`, 30 s by default. */
const DRAIN_MS = 20_000;

/** Throws CliError with every mistake and its place. `name`: of the file, for messages. */
export function readServeConfig(content: string, name: string): ServerOptions {
  const problems: string[] = [];
  const values = new Map<string, unknown>();
  for (const [path, value] of leavesOf(parse(content, name), '')) {
    const known = FIELDS[path];
    if (known === undefined) problems.push(unknownField(path));
    else {
      const read = known.read(value);
      if (read === undefined) problems.push(`${path} is ${known.what}, not ${JSON.stringify(value)}`);
      else values.set(path, read);
    }
  }
  const has = (prefix: string) => [...values.keys()].some((path) => path.startsWith(prefix));
  if (values.has('dataDir') === (values.get('ephemeral') === true))
    problems.push('dataDir says where data is kept; without it, say ephemeral: true');
  if (has('tls.') && !(values.has('tls.certFile') && values.has('tls.keyFile')))
    problems.push('tls needs certFile and keyFile');
  if (problems.length > 0)
    throw new CliError(
      problems.length === 1
        ? `${name}: ${problems[0]}`
        : `${name} has ${problems.length} mistakes:\n  ${problems.join('\n  ')}`,
      'docs/reference/serve.md has all fields',
    );
  return optionsOf(values, has('listeners.redis'));
}

function optionsOf(values: ReadonlyMap<string, unknown>, hasRedis: boolean): ServerOptions {
  const get = <T>(path: string): T | undefined => values.get(path) as T | undefined;
  const hostOf = (listener: string) => anyHost(get<string>(`listeners.${listener}.host`) ?? '127.0.0.1');
  const [certFile, keyFile] = [get<string>('tls.certFile'), get<string>('tls.keyFile')];
  const clientAuth = get('tls.clientCertificates') === 'Required' ? 'required' : 'optional';
  const caTrustedFor = get('tls.caTrustedFor') === 'Scaling' ? 'scaling' : undefined;
  const keysBytesMax = get<number>('keysMemory');
  return {
    dataDir: get<string>('dataDir') ?? null,
    shards: get<number>('shards') ?? 1,
    host: hostOf('grpc'),
    hosts: { grpc: hostOf('grpc'), http: hostOf('http'), redis: hostOf('redis') },
    grpcPort: get<number>('listeners.grpc.port') ?? 7070,
    httpPort: get<number>('listeners.http.port') ?? 7080,
    redisPort: hasRedis ? (get<number>('listeners.redis.port') ?? 6379) : undefined,
    allowedHosts: get<string[]>('allowedHosts') ?? [],
    tls:
      certFile === undefined || keyFile === undefined
        ? undefined
        : { certFile, keyFile, caFile: get<string>('tls.caFile'), clientAuth, caTrustedFor },
    tokenFile: get<string>('tokenFile'),
    reloadMs: get<number>('reloadInterval'),
    insecure: get<boolean>('insecure') ?? false,
    autoCreate: get<boolean>('autoCreate') ?? false,
    logLevel: get<ServerOptions['logLevel']>('logLevel') ?? 'info',
    drainMs: get<number>('drainTimeout') ?? DRAIN_MS,
    memoryLimitBytes: get<number>('memoryLimit'),
    storage: keysBytesMax === undefined ? {} : { keysBytesMax },
    earlyProbes: true,
  };
}

/** `::` takes both families, but not on a machine without the newer one. */
function anyHost(name: string): string {
  if (name !== '::') return name;
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return addresses.some(({ family }) => family === 'IPv6') ? '::' : '0.0.0.0';
}

function parse(content: string, name: string): object {
  if (Buffer.byteLength(content) > TEXT_BYTES_MAX) throw new CliError(`${name} is larger than 1 MiB`);
  const document = parseDocument(content, { uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) throw new CliError(`${name} is not YAML: ${error.message.split('\n')[0]}`);
  const value: unknown = plainOf(document, name);
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new CliError(`${name} holds no fields`);
  return value;
}

/** Aliases could make a small file large; nobody needs them here. */
function plainOf(document: Document.Parsed, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 0 });
  } catch (error) {
    throw new CliError(`${name}: ${(error as Error).message}`);
  }
}

/** What is null or empty says nothing. */
function leavesOf(value: object, prefix: string): [string, unknown][] {
  return Object.entries(value).flatMap(([key, each]: [string, unknown]): [string, unknown][] => {
    const path = prefix + key;
    if (each === null) return path in FIELDS || isGroup(path) ? [] : [[path, each]];
    if (typeof each === 'object' && !Array.isArray(each) && !(path in FIELDS)) {
      const inner = leavesOf(each, `${path}.`);
      return inner.length > 0 || isGroup(path) ? inner : [[path, each]];
    }
    return [[path, each]];
  });
}

const isGroup = (path: string): boolean => Object.keys(FIELDS).some((known) => known.startsWith(`${path}.`));

function unknownField(path: string): string {
  const meant = nearest(path, Object.keys(FIELDS));
  return `there is no field ${path}${meant === undefined ? '' : `; did you mean ${meant}?`}`;
}
