// What is left of a log at start: the segments that the last checkpoint counts on, cut to what it recorded.
//   V1. Fewer bytes than recorded are damage, never a shorter log; more is what came after the checkpoint,
//       and goes.
import path from 'node:path';
import { BATCH_HEAD_BYTES, FlowError } from '@flowmesh/protocol';
import { eachOf } from './each-of.ts';
import type { FileHandles } from './file-handles.ts';
import type { LogFile, LogFiles } from './log-files.ts';
import type { LogLength } from './log-host.ts';
import { looseHead, Segment } from './log-segment.ts';
import type { MetaRow } from './row-batch.ts';

const OPENS_MAX = 8;
const SUFFIX = '.log';

/** `generation`: of the cleaning that wrote it; 0: as it was appended. */
export const segmentName = (base: number, generation = 0) =>
  `${String(base).padStart(16, '0')}${generation === 0 ? '' : `-${generation}`}${SUFFIX}`;
export const isLogName = (name: string) => /^\d+$/.test(name);

export async function recoverLog(
  files: LogFiles,
  handles: FileHandles,
  directory: string,
  length: LogLength,
): Promise<Segment[]> {
  const found = await countedOn(files, directory, length);
  const segments: Segment[] = [];
  for (const [i, { base, generation }] of found.entries()) {
    const next = found[i + 1]?.base ?? length.endOffset;
    const end = base === length.segmentBase ? length.endOffset : next;
    const file = path.join(directory, segmentName(base, generation));
    const isBehind = base > length.segmentBase || (base === length.segmentBase && length.bytes === 0);
    if (isBehind || end <= length.startOffset) await files.unlink(file);
    else segments.push(Object.assign(new Segment(file, base, generation), { endOffset: end }));
  }
  await eachOf(segments, OPENS_MAX, (segment) =>
    handles.use(segment.path, 'existing', (file) => adopt(file, segment, length)),
  );
  const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  const last = segments[segments.length - 1];
  if (bytes !== length.totalBytes || (length.bytes > 0 && last?.base !== length.segmentBase)) {
    const found = `${directory} has ${bytes} bytes in ${segments.length} files`;
    const cure = `but the checkpoint says ${length.totalBytes}; restore from a backup`;
    throw new FlowError('DATA_DAMAGED', `${found}, ${cure}`);
  }
  return segments;
}

/**
 * Of a range that was cleaned the checkpoint counts on one file: the old ones, or the new one. The others go.
 */
async function countedOn(files: LogFiles, directory: string, { rewritten = [] }: LogLength) {
  const newest = new Map(rewritten.map(({ base, generation }) => [base, generation]));
  const isInside = (base: number) => rewritten.some((each) => each.base < base && base < each.endOffset);
  const found: { base: number; generation: number }[] = [];
  for (const name of await files.list(directory)) {
    const match = /^(\d{16})(?:-(\d+))?\.log$/.exec(name);
    if (match === null) continue;
    const base = Number(match[1]);
    const generation = Number(match[2] ?? 0);
    const isWanted = generation === (newest.get(base) ?? 0) && (generation > 0 || !isInside(base));
    if (isWanted) found.push({ base, generation });
    else await files.unlink(path.join(directory, name));
  }
  return found.sort((a, b) => a.base - b.base);
}

async function adopt(file: LogFile, segment: Segment, length: LogLength): Promise<void> {
  const size = await file.size();
  const isLast = segment.base === length.segmentBase;
  if (isLast && size < length.bytes) {
    throw segment.damaged(size, `the file ends, but the checkpoint says ${length.bytes} bytes`);
  }
  if (isLast && size > length.bytes) {
    await file.truncate(length.bytes);
    segment.isCut = true;
  }
  segment.adopt(isLast ? length.bytes : size, segment.endOffset);
  const head = Buffer.alloc(BATCH_HEAD_BYTES);
  const filled = await file.read(head, 0);
  if (filled < head.length || looseHead(head, 0).baseOffset !== segment.base) {
    throw segment.damaged(0, `no batch with offset ${segment.base}`);
  }
  segment.firstTimeMs = looseHead(head, 0).timeMs;
}

/** Under this name the rows' checkpoint keeps the length of each log, as JSON. */
export const LOG_LENGTH_PREFIX = 'log/';

export const lengthRow = (length: LogLength): MetaRow => ({
  key: LOG_LENGTH_PREFIX + length.id,
  value: length.isDropped ? null : Buffer.from(JSON.stringify(length)),
});
