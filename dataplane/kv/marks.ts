// A mark: a place in the history of all shards at once, as the text that clients keep. State and changes are
// read as of a mark, and a watch goes on behind one.
//   mark  = "1" "-" timeMs ("-" place)*        one place per shard
//   place = position ["." events]              before that entry; or behind so many of its kv events
import { FlowError } from '@flowmesh/protocol';

export interface PlaceInHistory {
  readonly position: number;
  /** Events of the kv view in that entry which are behind the mark. */
  readonly events: number;
}

export interface Mark {
  /** Shard time: what is expired at the mark. */
  readonly timeMs: number;
  readonly places: readonly PlaceInHistory[];
}

const VERSION = '1';
const NUMBER = /^(0|[1-9][0-9]{0,15})$/;
/** Enough for a thousand shards. */
const TEXT_MAX = 32 * 1024;

export function writeMark(timeMs: number, places: readonly PlaceInHistory[]): string {
  let text = `${VERSION}-${timeMs}`;
  for (const { position, events } of places) text += events === 0 ? `-${position}` : `-${position}.${events}`;
  return text;
}

export function readMark(text: string, shards: number): Mark {
  const [version, time, ...rest] = text.length <= TEXT_MAX ? text.split('-') : [];
  if (version !== VERSION || rest.length !== shards) throw foreign();
  const places = rest.map((place) => {
    const [position, events = '0', ...more] = place.split('.');
    if (more.length > 0) throw foreign();
    return { position: numberOf(position), events: numberOf(events) };
  });
  return { timeMs: numberOf(time), places };
}

/** Whether `a` is behind `b` or at it, on one shard. */
export const isReached = (a: PlaceInHistory, b: PlaceInHistory): boolean =>
  a.position > b.position || (a.position === b.position && a.events >= b.events);

function numberOf(text: string | undefined): number {
  const number = NUMBER.test(text ?? '') ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw foreign();
}

const foreign = () => new FlowError('INVALID_ARGUMENT', 'the cursor is not from this server');
