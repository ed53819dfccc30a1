// Numbers as Redis reads and writes them.
import { RedisError } from './reply.ts';

export const notInteger = () => new RedisError('ERR value is not an integer or out of range');
export const notFloat = () => new RedisError('ERR value is not a valid float');
export const syntax = () => new RedisError('ERR syntax error');
export const wrongType = () =>
  new RedisError('WRONGTYPE Operation against a key holding the wrong kind of value');

const INTEGER = /^(?:0|-?[1-9][0-9]{0,18})$/;
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/** A signed 64-bit integer; undefined: it is none. */
export function parseInt64(bytes: Buffer): bigint | undefined {
  const text = bytes.length <= 20 ? bytes.toString('latin1') : '';
  if (!INTEGER.test(text)) return undefined;
  const value = BigInt(text);
  return value > INT64_MAX || value < INT64_MIN ? undefined : value;
}

export const isInt64 = (value: bigint): boolean => value <= INT64_MAX && value >= INT64_MIN;

/** For counts, indexes and times: a 64-bit integer, brought within what JavaScript counts exactly. */
export function integer(bytes: Buffer): number {
  const value = parseInt64(bytes);
  if (value === undefined) throw notInteger();
  return Number(value);
}

const FLOAT = /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/;

/** undefined: it is none. Takes inf, +inf and -inf, never nan. */
export function parseFloat64(bytes: Buffer): number | undefined {
  const text = bytes.length <= 256 ? bytes.toString('latin1') : '';
  if (FLOAT.test(text)) return Number(text);
  const infinity = /^([+-]?)inf(?:inity)?$/i.exec(text);
  return infinity ? (infinity[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY) : undefined;
}

export function float(bytes: Buffer): number {
  const value = parseFloat64(bytes);
  if (value === undefined) throw notFloat();
  return value;
}
