// Our errors in the words of Redis: the first word is what clients look at.
import { FlowError } from '@flowmesh/protocol';
import { RedisError } from './reply.ts';
import { notInteger, wrongType } from './values.ts';

export function asRedisError(error: unknown): RedisError {
  if (error instanceof RedisError) return error;
  if (!(error instanceof FlowError)) throw error;
  switch (error.code) {
    case 'WRONG_TYPE':
      return wrongType();
    case 'WRONG_VALUE':
      return notInteger();
    case 'CROSS_SHARD':
      return new RedisError(
        "CROSSSLOT Keys in request don't hash to the same slot: give them the same {tag}",
      );
    case 'UNAUTHENTICATED':
      return new RedisError('WRONGPASS invalid username-password pair or user is disabled.');
    case 'PERMISSION_DENIED':
      return new RedisError(`NOPERM ${error.message}`);
    case 'DISK_FULL':
      return new RedisError(`OOM command not allowed: ${error.message}`);
    default:
      return new RedisError(`ERR ${error.code}: ${error.message}`);
  }
}

const SHOWN_BYTES = 128;

export function unknownCommand(args: readonly Buffer[]): RedisError {
  const [name, ...rest] = args.map((arg) => arg.toString('latin1', 0, SHOWN_BYTES));
  const shown = rest.slice(0, 4).map((arg) => `'${arg}'`);
  return new RedisError(
    `ERR unknown command '${name}', with args beginning with: ${shown.join(' ')} (FlowMesh serves keys, ` +
      'strings, hashes, sets, sorted sets and transactions)',
  );
}
