// Streams the entries of one segment file, each checked (J4), in slices of a megabyte.
import { decodeEntryHeader, decodePayload, ENTRY_HEADER_BYTES, HEAD_BYTES } from './codec.ts';
import type { JournalFiles } from './files.ts';
import type { Entry } from './journal.ts';
import { damaged } from './owner.ts';

const SLICE_BYTES = 1024 * 1024;

/** Memory for a slice, of at least so many bytes. */
export type SliceMemory = (bytes: number) => Buffer;

export const ownSlices: SliceMemory = (bytes) => Buffer.allocUnsafeSlow(bytes);

/** The same memory for each slice: a journal is long, and the collector would not see it (log-store.ts). */
export function oneSlice(): SliceMemory {
  let slice: Buffer = Buffer.of();
  return (bytes) => {
    if (slice.length < bytes) slice = ownSlices(bytes);
    return slice;
  };
}

/** Entries `from` to `to`, all of which are durable in this segment. Payloads are views on slices. */
export async function* readSegment(
  files: JournalFiles,
  segment: { id: number; path: string; firstSeq: number },
  { from, to, seed, memory }: { from: number; to: number; seed: number; memory: SliceMemory },
): AsyncGenerator<Entry> {
  const of = { segmentId: segment.id, seed };
  const file = await files.open(segment.path, 'read');
  try {
    let slice: Buffer = Buffer.alloc(0);
    let start = HEAD_BYTES;
    let at = 0;
    const have = async (bytes: number) => {
      start += at;
      at = 0;
      const into = memory(Math.max(SLICE_BYTES, bytes));
      slice = into.subarray(0, await file.read(into, start));
    };
    for (let seq = segment.firstSeq; seq <= to; seq++) {
      if (slice.length - at < ENTRY_HEADER_BYTES) await have(ENTRY_HEADER_BYTES);
      const header = decodeEntryHeader(slice, at, of);
      if (header?.seq !== seq) throw damaged(segment.path, start + at, `entry ${seq} is damaged`);
      const bytes = ENTRY_HEADER_BYTES + header.length;
      if (slice.length - at < bytes) await have(bytes);
      const payload = decodePayload(slice, at, header);
      if (payload === undefined) throw damaged(segment.path, start + at, `entry ${seq} is damaged`);
      at += bytes;
      if (seq >= from) yield { seq, timeMs: header.timeMs, epoch: header.epoch, payload };
    }
  } finally {
    await file.close();
  }
}
