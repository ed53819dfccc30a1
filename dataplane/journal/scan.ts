// Reads the bytes of one segment without touching a file: which entries stand there, and whether what
// follows them was durable.
import { decodeEntryHeader, decodePayload, type EntryHeader, HEAD_BYTES, nextEntryMagic } from './codec.ts';

export interface ScannedEntry {
  readonly at: number;
  readonly header: EntryHeader;
}

interface Of {
  readonly segmentId: number;
  readonly seed: number;
}

/** The unbroken run of intact entries behind the head, and where it ends. */
export function scanEntries(
  bytes: Buffer,
  { firstSeq, ...of }: Of & { firstSeq: number },
): { entries: ScannedEntry[]; end: number } {
  const entries: ScannedEntry[] = [];
  let end = HEAD_BYTES;
  for (;;) {
    const header = decodeEntryHeader(bytes, end, of);
    if (header === undefined || header.seq !== firstSeq + entries.length) break;
    const payload = decodePayload(bytes, end, header);
    if (payload === undefined) break;
    entries.push({ at: end, header });
    end = payload.byteOffset - bytes.byteOffset + payload.length;
  }
  return { entries, end };
}

/** Place of a header at or behind `from` that was written when `seq` was known durable; -1: none. */
export function proofOf(seq: number, bytes: Buffer, { from, ...of }: Of & { from: number }): number {
  for (let at = nextEntryMagic(bytes, from); at !== -1; at = nextEntryMagic(bytes, at + 1)) {
    const header = decodeEntryHeader(bytes, at, of);
    if (header !== undefined && header.durableUpTo >= seq) return at;
  }
  return -1;
}

/** Whether a header of this segment stands anywhere in the bytes. */
export function holdsEntries(bytes: Buffer, of: Of): boolean {
  return proofOf(0, bytes, { from: 0, ...of }) !== -1;
}
