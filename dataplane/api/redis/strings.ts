// Commands on strings. https://redis.io/docs/latest/commands/?group=string
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { ALL, at, type Clock, changes, type Direct, puts, reads, type Table, word } from './command.ts';
import { addDecimals, isLongDouble } from './decimals.ts';
import type { Overlay } from './overlay.ts';
import { OK, RedisError, type Reply } from './reply.ts';
import { integer, isInt64, notFloat, notInteger, parseFloat64, parseInt64, syntax } from './values.ts';

const STRING_BYTES_MAX = 1024 * 1024;
const get = (key: Buffer) => ({ get: pb.KvGet.create({ key }) });
const set = (key: Buffer, value: Buffer, more: Partial<pb.KvSetInput> = {}) => ({
  set: pb.KvSet.create({ key, value, ...more }),
});
const found = (result: pb.KvResultInput | undefined): Buffer | null =>
  result?.found ? ((result.value ?? EMPTY) as Buffer) : null;
const EMPTY = Buffer.alloc(0);

interface SetTerms {
  condition: 'NX' | 'XX' | null;
  /** null: none; keep: as it is. */
  expireAtMs: number | 'keep' | null;
  isGet: boolean;
}

const invalidExpire = (command: string) => new RedisError(`ERR invalid expire time in '${command}' command`);

/** The moment that `unit value` means. */
export function expiry(unit: string, value: Buffer, command: string, nowMs: number): number {
  const amount = integer(value);
  const ms = unit.startsWith('P') ? amount : amount * 1000;
  const atMs = unit.endsWith('AT') ? ms : nowMs + ms;
  if (amount <= 0 || !Number.isSafeInteger(Math.trunc(atMs)) || ms > 2 ** 52) throw invalidExpire(command);
  return atMs;
}

function setTerms(args: readonly Buffer[], clock: Clock): SetTerms {
  const terms: SetTerms = { condition: null, expireAtMs: null, isGet: false };
  for (let i = 3; i < args.length; i++) {
    const option = word(args[i]);
    if ((option === 'NX' || option === 'XX') && terms.condition === null) terms.condition = option;
    else if (option === 'GET') terms.isGet = true;
    else if (terms.expireAtMs !== null) throw syntax();
    else if (option === 'KEEPTTL') terms.expireAtMs = 'keep';
    else if (/^(EX|PX|EXAT|PXAT)$/.test(option) && args[i + 1] !== undefined) {
      terms.expireAtMs = expiry(option, at(args, ++i), 'set', clock.nowMs());
    } else throw syntax();
  }
  return terms;
}

function setOp(args: readonly Buffer[], clock: Clock): pb.KvOpInput {
  const { condition, expireAtMs } = setTerms(args, clock);
  const ttlMs = typeof expireAtMs === 'number' ? Math.max(1, Math.round(expireAtMs - clock.nowMs())) : 0;
  const more = {
    ifAbsent: condition === 'NX',
    ifPresent: condition === 'XX',
    keepTtl: expireAtMs === 'keep',
  };
  return set(at(args, 1), at(args, 2), { ttlMs, ...more });
}

/** `SET key value GET`: the value before, and an error instead of a change if it is none. */
async function setGet(overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> {
  const { condition, expireAtMs } = setTerms(args, clock);
  const before = await overlay.string(at(args, 1));
  const isMet = condition === null || (condition === 'NX') === (before === undefined);
  if (isMet) await overlay.setString(at(args, 1), at(args, 2), expireAtMs ?? 0);
  return before ?? null;
}

const isSetGet = (args: readonly Buffer[]): boolean =>
  args.length > 3 && args.slice(3).some((arg) => word(arg) === 'GET');

function byInteger(sign: 1 | -1, of: (args: readonly Buffer[]) => Buffer | undefined) {
  return async (overlay: Overlay, args: readonly Buffer[]): Promise<Reply> => {
    const given = of(args);
    const amount = given === undefined ? 1n : parseInt64(given);
    if (amount === undefined) throw notInteger();
    const before = await overlay.string(at(args, 1));
    const value = before === undefined ? 0n : parseInt64(before);
    if (value === undefined) throw notInteger();
    const sum = value + BigInt(sign) * amount;
    if (!isInt64(sum)) throw new RedisError('ERR increment or decrement would overflow');
    await overlay.setString(at(args, 1), Buffer.from(String(sum)), 'keep');
    return sum;
  };
}

/** One operation up to 2^53; beyond it, read and written with all 64 bits. */
function counter(arity: number, sign: 1 | -1, of: (args: readonly Buffer[]) => Buffer | undefined): Direct {
  const ops = (args: readonly Buffer[]) => {
    const given = of(args);
    const amount = given === undefined ? 1n : parseInt64(given);
    if (amount === undefined) throw notInteger();
    // Too much for the operation: it is made to fail, and the fallback takes over.
    const isSmall = amount <= MAX_SAFE && amount >= -MAX_SAFE;
    return [
      {
        increment: pb.KvIncrement.create({ key: at(args, 1), delta: isSmall ? sign * Number(amount) : NaN }),
      },
    ];
  };
  return { ...puts(arity, ops, ([r]) => Number(r?.integer ?? 0)), fallback: byInteger(sign, of) };
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

async function append(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const before = await overlay.string(at(args, 1));
  const value = Buffer.concat([before ?? EMPTY, at(args, 2)]);
  // Redis makes the key even for an empty value.
  if (before === undefined || at(args, 2).length > 0)
    await overlay.setString(at(args, 1), bounded(value), 'keep');
  return value.length;
}

function bounded(value: Buffer): Buffer {
  if (value.length <= STRING_BYTES_MAX) return value;
  throw new RedisError('ERR string exceeds maximum allowed size (1 MiB)');
}

async function setRange(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const offset = integer(at(args, 2));
  if (offset < 0) throw new RedisError('ERR offset is out of range');
  const piece = at(args, 3);
  const before = await overlay.string(at(args, 1));
  if (piece.length === 0) return before?.length ?? 0;
  if (offset + piece.length > STRING_BYTES_MAX) {
    throw new RedisError('ERR string exceeds maximum allowed size (1 MiB)');
  }
  const value = Buffer.alloc(Math.max(before?.length ?? 0, offset + piece.length));
  before?.copy(value);
  piece.copy(value, offset);
  await overlay.setString(at(args, 1), value, 'keep');
  return value.length;
}

/** Redis' inclusive range with ends that may count from the back. */
export function slice(length: number, start: number, end: number): [from: number, to: number] {
  const from = Math.max(0, start < 0 ? length + start : start);
  const to = Math.min(length - 1, end < 0 ? length + end : end);
  return from > to || length === 0 ? [0, 0] : [from, to + 1];
}

function getRange([result]: readonly pb.KvResultInput[], args: readonly Buffer[]): Reply {
  const [start, end] = [integer(at(args, 2)), integer(at(args, 3))];
  const value = found(result) ?? EMPTY;
  if (start < 0 && end < 0 && start > end) return EMPTY;
  // Unlike in other ranges, an end before the first byte is the first byte.
  const last = end < 0 ? Math.max(0, value.length + end) : end;
  const [from, to] = slice(value.length, start, last);
  return value.subarray(from, to);
}

async function incrementByFloat(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  const before = (await overlay.string(at(args, 1)))?.toString('latin1') ?? '0';
  const amount = at(args, 2).toString('latin1');
  for (const text of [before, amount]) {
    if (parseFloat64(Buffer.from(text)) === undefined || !isLongDouble(text)) throw notFloat();
  }
  const sum = addDecimals(before, amount);
  if (sum === undefined) throw new RedisError('ERR increment would produce NaN or Infinity');
  await overlay.setString(at(args, 1), Buffer.from(sum), 'keep');
  return sum;
}

async function getEx(overlay: Overlay, args: readonly Buffer[], clock: Clock): Promise<Reply> {
  const option = word(args[2]);
  if (args.length === 3 && option !== 'PERSIST') throw syntax();
  if (args.length > 4 || (args.length === 4 && !/^(EX|PX|EXAT|PXAT)$/.test(option))) throw syntax();
  const value = await overlay.string(at(args, 1));
  if (value === undefined) return null;
  const untilMs = args.length === 4 ? expiry(option, at(args, 3), 'getex', clock.nowMs()) : 0;
  if (args.length > 2) await overlay.setExpiry(at(args, 1), untilMs);
  return value;
}

async function setIfNone(overlay: Overlay, args: readonly Buffer[]): Promise<Reply> {
  if (args.length % 2 === 0) throw new RedisError("ERR wrong number of arguments for 'msetnx' command");
  for (let i = 1; i < args.length; i += 2) if ((await overlay.look(at(args, i))).kind !== null) return 0;
  for (let i = 1; i < args.length; i += 2) await overlay.setString(at(args, i), at(args, i + 1), 0);
  return 1;
}

function pairs(args: readonly Buffer[]): pb.KvOpInput[] {
  if (args.length % 2 === 0) throw new RedisError("ERR wrong number of arguments for 'mset' command");
  const ops: pb.KvOpInput[] = [];
  for (let i = 1; i < args.length; i += 2) ops.push(set(at(args, i), at(args, i + 1)));
  return ops;
}

const ended = (unit: 'EX' | 'PX', command: string) => (args: readonly Buffer[], clock: Clock) => {
  const ttlMs = expiry(unit, at(args, 2), command, clock.nowMs()) - clock.nowMs();
  return [set(at(args, 1), at(args, 3), { ttlMs })];
};

export const STRINGS: Table = {
  GET: reads(
    2,
    (a) => [get(at(a, 1))],
    ([r]) => found(r),
  ),
  SET: {
    ...puts(
      -3,
      (a, clock) => [setOp(a, clock)],
      ([r]) => (r?.found ? OK : null),
    ),
    otherwise: { when: isSetGet, command: changes(-4, setGet) },
  },
  SETNX: puts(
    3,
    (a) => [set(at(a, 1), at(a, 2), { ifAbsent: true })],
    ([r]) => (r?.found ? 1 : 0),
  ),
  SETEX: puts(4, ended('EX', 'setex'), () => OK),
  PSETEX: puts(4, ended('PX', 'psetex'), () => OK),
  MSET: puts(-3, pairs, () => OK, [1, -1, 2]),
  // A value that is no string reads as none.
  MGET: {
    ...reads(
      -2,
      (a) => a.slice(1).map(get),
      (results) => results.map(found),
      ALL,
    ),
    isTolerant: true,
  },
  MSETNX: changes(-3, setIfNone, [1, -1, 2]),
  STRLEN: reads(
    2,
    (a) => [get(at(a, 1))],
    ([r]) => found(r)?.length ?? 0,
  ),
  GETRANGE: reads(4, (a) => [get(at(a, 1))], getRange),
  SUBSTR: reads(4, (a) => [get(at(a, 1))], getRange),
  APPEND: changes(3, append),
  SETRANGE: changes(4, setRange),
  INCR: counter(2, 1, () => undefined),
  DECR: counter(2, -1, () => undefined),
  INCRBY: counter(3, 1, (a) => a[2]),
  DECRBY: counter(3, -1, (a) => a[2]),
  INCRBYFLOAT: changes(3, incrementByFloat),
  GETSET: changes(3, async (o, a) => {
    const before = await o.string(at(a, 1));
    await o.setString(at(a, 1), at(a, 2), 0);
    return before ?? null;
  }),
  GETDEL: changes(2, async (o, a) => {
    const before = await o.string(at(a, 1));
    if (before !== undefined) await o.remove(at(a, 1));
    return before ?? null;
  }),
  GETEX: changes(-2, getEx),
};
