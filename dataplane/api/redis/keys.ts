// Commands on keys of any type. https://redis.io/docs/latest/commands/?group=generic
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import {
  ALL,
  at,
  type Clock,
  changes,
  type Direct,
  deletes,
  puts,
  reads,
  type Table,
  word,
} from './command.ts';
import type { Kind, Member, Overlay } from './overlay.ts';
import { OK, RedisError, type Reply, Simple } from './reply.ts';
import { integer, syntax } from './values.ts';

const inspect = (key: Buffer) => ({ inspect: pb.KvInspect.create({ key }) });
const remove = (key: Buffer) => ({ delete: pb.KvDelete.create({ key }) });
const rest = (args: readonly Buffer[]) => args.slice(1);
const count = (results: readonly pb.KvResultInput[]) => results.filter(({ found }) => found).length;

type Result = pb.KvResultInput | undefined;

/** -2: no such key; -1: no expiry. */
function ttl(result: Result, shown: (ttlMs: number) => number): number {
  if (!result?.found) return -2;
  return (result.ttlMs ?? -1) < 0 ? -1 : shown(Number(result.ttlMs));
}

const seconds = (ms: number) => Math.floor((ms + 500) / 1000);

/** EXPIRE and its sisters: what is over already deletes the key. */
function expiring(unitMs: 1 | 1000, isAt: boolean, command: string) {
  return async (overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> => {
    const flags = new Set(args.slice(3).map(word));
    for (const flag of flags)
      if (!/^(NX|XX|GT|LT)$/.test(flag)) throw new RedisError(`ERR Unsupported option ${flag}`);
    if (flags.has('NX') && flags.size > 1) {
      throw new RedisError('ERR NX and XX, GT or LT options at the same time are not compatible');
    }
    if (flags.has('GT') && flags.has('LT')) {
      throw new RedisError('ERR GT and LT options at the same time are not compatible');
    }
    const untilMs = moment(args, unitMs, isAt ? 0 : clock.nowMs(), command);
    const { kind, expireAtMs } = await overlay.look(at(args, 1));
    if (kind === null) return 0;
    if (flags.has('NX') && expireAtMs !== 0) return 0;
    if (flags.has('XX') && expireAtMs === 0) return 0;
    // Without an expiry the key lives longer than any.
    if (flags.has('GT') && (expireAtMs === 0 || untilMs <= expireAtMs)) return 0;
    if (flags.has('LT') && expireAtMs !== 0 && untilMs >= expireAtMs) return 0;
    if (untilMs <= clock.nowMs()) await overlay.remove(at(args, 1));
    else await overlay.setExpiry(at(args, 1), untilMs);
    return 1;
  };
}

function moment(args: readonly Buffer[], unitMs: number, fromMs: number, command: string): number {
  const untilMs = integer(at(args, 2)) * unitMs + fromMs;
  if (Math.abs(untilMs) <= 2 ** 52) return untilMs;
  throw new RedisError(`ERR invalid expire time in '${command}' command`);
}

/** Without conditions it is one operation: an expiry, or the deletion of what is over already. */
function expireCommand(unitMs: 1 | 1000, isAt: boolean, command: string): Direct {
  const ops = (args: readonly Buffer[], clock: Clock): pb.KvOpInput[] => {
    const ttlMs = Math.round(moment(args, unitMs, isAt ? 0 : clock.nowMs(), command) - clock.nowMs());
    return [ttlMs <= 0 ? remove(at(args, 1)) : { expire: pb.KvExpire.create({ key: at(args, 1), ttlMs }) }];
  };
  const conditional = changes(-3, expiring(unitMs, isAt, command));
  return { ...puts(-3, ops, count), otherwise: { when: (args) => args.length > 3, command: conditional } };
}

async function copy(overlay: Overlay, from: Buffer, to: Buffer): Promise<void> {
  const { kind, expireAtMs } = await overlay.look(from);
  if (kind === 'string') {
    await overlay.setString(to, (await overlay.string(from)) as Buffer, expireAtMs);
    return;
  }
  const members: ReadonlyMap<string, Member> = await overlay.all(from, kind as Kind);
  await overlay.replaceAll(to, kind as Kind, members);
  await overlay.setExpiry(to, expireAtMs);
}

const noKey = () => new RedisError('ERR no such key');

async function rename(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  if ((await overlay.look(at(args, 1))).kind === null) throw noKey();
  if (!at(args, 1).equals(at(args, 2))) {
    await copy(overlay, at(args, 1), at(args, 2));
    await overlay.remove(at(args, 1));
  }
  return OK;
}

async function renameIfNone(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  if ((await overlay.look(at(args, 1))).kind === null) throw noKey();
  if ((await overlay.look(at(args, 2))).kind !== null) return 0;
  await rename(overlay, args);
  return 1;
}

async function copyCommand(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const options = args.slice(3).map(word);
  if (options.some((option) => option !== 'REPLACE')) throw syntax();
  if (at(args, 1).equals(at(args, 2)))
    throw new RedisError('ERR source and destination objects are the same');
  if ((await overlay.look(at(args, 1))).kind === null) return 0;
  if (options.length === 0 && (await overlay.look(at(args, 2))).kind !== null) return 0;
  await copy(overlay, at(args, 1), at(args, 2));
  return 1;
}

const unlessNone = (clock: Clock) => (ttlMs: number) => clock.nowMs() + ttlMs;
const TWO: readonly [number, number, number] = [1, 2, 1];

export const KEYS: Table = {
  DEL: deletes(-2, (a) => rest(a).map(remove), count, ALL),
  UNLINK: deletes(-2, (a) => rest(a).map(remove), count, ALL),
  EXISTS: reads(-2, (a) => rest(a).map(inspect), count, ALL),
  TOUCH: reads(-2, (a) => rest(a).map(inspect), count, ALL),
  TYPE: reads(
    2,
    (a) => [inspect(at(a, 1))],
    ([r]) => new Simple(r?.type || 'none'),
  ),
  TTL: reads(
    2,
    (a) => [inspect(at(a, 1))],
    ([r]) => ttl(r, seconds),
  ),
  PTTL: reads(
    2,
    (a) => [inspect(at(a, 1))],
    ([r]) => ttl(r, Math.round),
  ),
  EXPIRETIME: reads(
    2,
    (a) => [inspect(at(a, 1))],
    ([r], _, clock) => ttl(r, (ms) => seconds(unlessNone(clock)(ms))),
  ),
  PEXPIRETIME: reads(
    2,
    (a) => [inspect(at(a, 1))],
    ([r], _, clock) => ttl(r, (ms) => Math.round(unlessNone(clock)(ms))),
  ),
  // Both see the same moment: they are decided in one command.
  PERSIST: puts(
    2,
    (a) => [inspect(at(a, 1)), { expire: pb.KvExpire.create({ key: at(a, 1) }) }],
    ([r]) => ((r?.found ? Number(r.ttlMs ?? -1) : -1) >= 0 ? 1 : 0),
  ),
  EXPIRE: expireCommand(1000, false, 'expire'),
  PEXPIRE: expireCommand(1, false, 'pexpire'),
  EXPIREAT: expireCommand(1000, true, 'expireat'),
  PEXPIREAT: expireCommand(1, true, 'pexpireat'),
  RENAME: changes(3, rename, TWO),
  RENAMENX: changes(3, renameIfNone, TWO),
  COPY: changes(-3, copyCommand, TWO),
};
