// A page of the keys that there were at a mark: the rows as they are, corrected by the first change of each
// key behind the mark.
//   Z1. Every key that was there at the mark is in exactly one page, whatever is written meanwhile.
//   Z2. A page reads what its shard has journaled behind the mark, and remembers at most CHANGED_MAX keys of
//       it: where more have changed, the page ends earlier.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { after, fromByteString } from '../storage/keys.ts';
import { changesBehind, kindBefore } from './as-of.ts';
import { changedKey } from './changes.ts';
import type { Mark, PlaceInHistory } from './marks.ts';
import { keyCursor, type Place, planScan, type ScanParts, VALUES_MAX } from './scans.ts';
import { type Kind, META_HEAD, nameOfKey, TYPE_NAMES } from './tables.ts';

const CHANGED_MAX = 8192;

export async function scanAt(parts: ScanParts, scan: pb.KvScan, mark: Mark): Promise<pb.KvResultInput> {
  const { keyspaceStart, prefix, wanted, limit, shard: at, from } = planScan(parts, scan);
  const place = parts.places[at] as Place;
  const { rows, end: covered } = await readRows(place, { from, to: after(prefix), limit });
  let end = covered;
  const changed = new Map<string, Kind | 0>();
  const concerns = (key: string) => key >= from && key < end && !changed.has(key);
  for await (const { event } of changesBehind(place.shard, mark.places[at] as PlaceInHistory, concerns)) {
    changed.set(changedKey(event) as string, kindBefore(event, mark.timeMs));
    if (changed.size > CHANGED_MAX) end = shorten(changed, CHANGED_MAX / 2);
  }
  const kinds = new Map(changed);
  for (const { key, kind, expireAtMs } of rows) {
    if (key >= end || kinds.has(key)) continue;
    kinds.set(key, expireAtMs === 0 || expireAtMs > mark.timeMs ? kind : 0);
  }
  let there = [...kinds].filter(([, kind]) => kind !== 0).sort(([a], [b]) => (a < b ? -1 : 1));
  if (there.length > limit) {
    there = there.slice(0, limit);
    end = `${there.at(-1)?.[0]}\0`;
  }
  const entries = there
    .filter(([, kind]) => wanted === 0 || kind === wanted)
    .map(([key, kind]) => ({
      name: fromByteString(nameOfKey(key, keyspaceStart.length)),
      type: TYPE_NAMES[kind],
    }));
  if (end !== after(prefix)) return { entries, cursor: keyCursor(at, nameOfKey(end, keyspaceStart.length)) };
  return at + 1 < parts.places.length ? { entries, cursor: keyCursor(at + 1, undefined) } : { entries };
}

interface Head {
  readonly key: string;
  readonly kind: Kind;
  readonly expireAtMs: number;
}

/** In small portions: the rows bring their values along, and only their heads are kept. */
async function readRows(
  { rows }: Place,
  { from, to, limit }: { from: string; to: string; limit: number },
): Promise<{ rows: Head[]; end: string }> {
  const heads: Head[] = [];
  for (let at = from; ; ) {
    const size = Math.min(VALUES_MAX, limit - heads.length);
    const page = await rows.scan(META_HEAD, { from: at, to, limit: size });
    for (const { key, value } of page) heads.push({ key, kind: value.kind, expireAtMs: value.expireAtMs });
    const last = page.at(-1);
    if (last === undefined || page.length < size) return { rows: heads, end: to };
    at = `${last.key}\0`;
    if (heads.length === limit) return { rows: heads, end: at };
  }
}

/** Keeps the `count` first keys; returns the end of what they cover. */
function shorten(changed: Map<string, Kind | 0>, count: number): string {
  const keys = [...changed.keys()].sort();
  for (const key of keys.slice(count)) changed.delete(key);
  return `${keys[count - 1]}\0`;
}
