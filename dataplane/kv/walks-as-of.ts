// Pages of members, and ranges of sorted sets, as they were at a mark.
//   W1. Every member that was there at the mark is in exactly one page, whatever is written meanwhile.
//   W2. A page remembers at most CHANGED_MAX members that have changed since: where more have, it ends
//       earlier. A range has to know all of them: beyond RANGE_CHANGED_MAX it is refused.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { after, f64be, fromByteString, readF64be } from '../storage/keys.ts';
import { type Before, changedMembers, type Past, resolved } from './members-as-of.ts';
import { memberCursor, PAGE_BYTES_MAX, pageSize, ROWS_MAX, readCursor, VALUES_MAX } from './scans.ts';
import { HASH, memberPrefix, memberTable, ORDER } from './tables.ts';

const CHANGED_MAX = 8192;
const RANGE_CHANGED_MAX = 50_000;

export async function scanMembersAt(past: Past, scan: pb.HashScan | pb.SetScan): Promise<pb.KvResultInput> {
  const { place, key, meta } = past;
  const last = readCursor(scan.cursor);
  const from = last === undefined ? '' : `${last}\0`;
  const limit = pageSize(scan.limit, meta.kind === HASH ? VALUES_MAX : ROWS_MAX);
  const table = memberTable(meta.kind);
  const prefix = memberPrefix(key, table, meta.generation);
  const rows = await place.rows.scan(table, { from: prefix + from, to: after(prefix), limit });
  const found = new Map(rows.map((row) => [row.key.slice(prefix.length), row.value as Before]));
  /** The last name that the page covers; undefined: it covers the rest. */
  let through = rows.length < limit ? undefined : rows.at(-1)?.key.slice(prefix.length);
  const covers = (name: string) => name >= from && (through === undefined || name <= through);
  const changed = new Map<string, Before>();
  for await (const { tell } of changedMembers(past)) {
    tell((name, before) => {
      if (covers(name) && !changed.has(name)) changed.set(name, before);
    });
    if (changed.size > CHANGED_MAX) through = shorten(changed, CHANGED_MAX / 2);
  }
  for (const [name, before] of changed) found.set(name, before);
  let names = [...found.keys()].filter((name) => found.get(name) !== undefined && covers(name)).sort();
  if (names.length > limit) {
    names = names.slice(0, limit);
    through = names.at(-1);
  }
  const values = await resolved(past, new Map(names.map((name) => [name, found.get(name)])));
  const entries: pb.KvEntryInput[] = [];
  let bytes = 0;
  for (const [name, value] of values) {
    if (value === undefined) continue;
    entries.push({ name: fromByteString(name), ...(Buffer.isBuffer(value) ? { value } : {}), found: true });
    bytes += name.length + (Buffer.isBuffer(value) ? value.length : 0);
    if (bytes < PAGE_BYTES_MAX || name === names.at(-1)) continue;
    through = name;
    break;
  }
  const cursor = through === undefined ? undefined : memberCursor(fromByteString(through));
  return { found: true, revision: meta.revision, entries, cursor };
}

/** Keeps the `count` first names; returns the last of them. */
function shorten(changed: Map<string, Before>, count: number): string {
  const names = [...changed.keys()].sort();
  for (const name of names.slice(count)) changed.delete(name);
  return names[count - 1] as string;
}

export async function rangeAt(past: Past, query: pb.SortedSetRange): Promise<pb.KvResultInput> {
  const { place, key, meta } = past;
  const prefix = memberPrefix(key, ORDER, meta.generation);
  const limit = query.limit === 0 ? ROWS_MAX : Math.min(query.limit, ROWS_MAX);
  const { reverse } = query;
  let from = prefix + f64be(query.minScore ?? Number.NEGATIVE_INFINITY);
  let to = after(prefix + f64be(query.maxScore ?? Number.POSITIVE_INFINITY));
  const changes = new ScoreChanges(past);
  const entries: pb.KvEntryInput[] = [];
  let skip = query.offset;
  while (entries.length < limit && from < to) {
    const rows = await place.rows.scan(ORDER, { from, to, limit: ROWS_MAX, reverse });
    await changes.read();
    const last = rows.length < ROWS_MAX ? undefined : (rows.at(-1)?.key as string);
    const part = reverse ? { from: last ?? from, to } : { from, to: last === undefined ? to : `${last}\0` };
    const there = rows
      .map((row) => row.key)
      .filter((each) => !changes.before.has(each.slice(prefix.length + 8)))
      .concat(changes.within(prefix, part))
      .sort();
    if (reverse) there.reverse();
    for (const each of there.slice(skip, skip + limit - entries.length)) {
      const name = fromByteString(each.slice(prefix.length + 8));
      entries.push({ name, score: readF64be(each, prefix.length), found: true });
    }
    skip = Math.max(0, skip - there.length);
    if (reverse) to = part.from;
    else from = part.to;
  }
  return { found: true, revision: meta.revision, entries };
}

/** Members that have changed since the mark, and their scores at it. Read on after each portion of rows. */
class ScoreChanges {
  readonly before = new Map<string, number | undefined>();
  readonly #past: Past;
  /** What is in front of it was read. */
  #next: number | undefined;

  constructor(past: Past) {
    this.#past = past;
  }

  async read(): Promise<void> {
    let { next } = this.#past.place.shard.timeline.window;
    for await (const { position, tell } of changedMembers(this.#past, this.#next)) {
      next = Math.max(next, position + 1);
      tell((name, before) => {
        if (!this.before.has(name)) this.before.set(name, before as number | undefined);
      });
      if (this.before.size > RANGE_CHANGED_MAX) throw tooMany();
    }
    this.#next = next;
  }

  /** Keys of ORDER rows that there were. */
  within(prefix: string, { from, to }: { from: string; to: string }): string[] {
    const keys: string[] = [];
    for (const [name, score] of this.before) {
      if (score === undefined) continue;
      const key = `${prefix}${f64be(score)}${name}`;
      if (key >= from && key < to) keys.push(key);
    }
    return keys;
  }
}

const tooMany = () =>
  new FlowError(
    'BATCH_TOO_LARGE',
    `more than ${RANGE_CHANGED_MAX} members have changed since: ask for scores by name, or a later moment`,
  );
