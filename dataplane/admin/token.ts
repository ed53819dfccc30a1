// Resume tokens of the change feed: whose positions they are, and one for each shard, as text that nobody has
// to understand.
import { FlowError } from '@flowmesh/protocol';

const VERSION = '1';

export const writeToken = (origin: string, positions: readonly number[]): string =>
  Buffer.from([VERSION, origin, ...positions.map((each) => each.toString(36))].join(' ')).toString(
    'base64url',
  );

/** Throws INVALID_ARGUMENT on what is no token, and HISTORY_TRIMMED on one of other data. */
export function readToken(token: string, origin: string, shards: number): number[] {
  const [version, from, ...places] = Buffer.from(token.slice(0, 4096), 'base64url').toString().split(' ');
  const positions = places.map((each) =>
    /^[0-9a-z]{1,11}$/.test(each) ? Number.parseInt(each, 36) : Number.NaN,
  );
  if (version !== VERSION || from === undefined || !positions.every(Number.isSafeInteger))
    throw new FlowError('INVALID_ARGUMENT', 'resume_token is not one of this feed');
  if (from !== origin || positions.length !== shards)
    throw new FlowError('HISTORY_TRIMMED', 'the resume_token is of other data: list, and watch anew');
  return positions;
}
