// What is left of a log at start: the segments that the last checkpoint counts on, cut to what it recorded.
//   V1. Fewer bytes than recorded are damage, never a shorter log; more is what came after the checkpoint,
//       and goes.
import path from 'node:path';
import { BATCH_HEAD_BYTES, FlowError } from '@flowmesh/protocol';
import { eachOf } from './each-of.ts';
import type { FileHandles } from './file-handles.ts';
import type { LogFile, LogFiles } from './log-files.ts';
import { looseHead, Segment } from './log-segment.ts';
import type { LogLength } from './partition-log.ts';
import type { MetaRow } from './row-store.ts';

const OPENS_MAX = 8;
const SUFFIX = '.log';

export const segmentName = (base: number) => `${String(base).padStart(16, '0')}${SUFFIX}`;
export const isLogName = (name: string) => /^\d+$/.test(name);

export async function recoverLog(
  files: LogFiles,
  handles: FileHandles,
  directory: string,
  length: LogLength,
): Promise<Segment[]> {
  const bases = (await files.list(directory))
    .filter((name) => /^\d{16}\.log$/.test(name))
    .map((name) => Number(name.slice(0, -SUFFIX.length)))
    .sort((a, b) => a - b);
  const segments: Segment[] = [];
  for (const [i, base] of bases.entries()) {
    const end = base === length.segmentBase ? length.endOffset : Math.min(bases[i + 1] ?? length.endOffset);
    const file = path.join(directory, segmentName(base));
    const isBehind = base > length.segmentBase || (base === length.segmentBase && length.bytes === 0);
    if (isBehind || end <= length.startOffset) await files.unlink(file);
    else segments.push(Object.assign(new Segment(file, base), { endOffset: end }));
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
