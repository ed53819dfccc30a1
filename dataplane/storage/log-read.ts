// Reading back from a segment file: from the sparse index to the batch, and on as far as asked.
import type { FileHandles } from './file-handles.ts';
import { Block, type BlockOwner } from './log-block.ts';
import type { LogFile } from './log-files.ts';
import { checkBatch, looseHead, type Place, type Segment } from './log-segment.ts';

/** Smallest possible batch head; less than that behind the last batch is not looked at. */
const HEAD_BYTES = 40;

export interface Wanted {
  readonly offset: number;
  readonly maxBytes: number;
}

/** The batch with the offset and whole batches behind it, all of them checked. */
export async function readBlock(
  handles: FileHandles,
  owner: BlockOwner,
  segment: Segment,
  wanted: Wanted,
): Promise<Block> {
  await segment.ensureIndexed(handles);
  const { index } = segment;
  const entry = index.byOffset(wanted.offset);
  const start = { offset: index.offsets[entry] ?? segment.base, position: index.positions[entry] ?? 0 };
  const nextEntry = index.positions[entry + 1] ?? segment.written;
  // The batch lies before the next entry.
  const guess = nextEntry - start.position + wanted.maxBytes;
  return handles.use(segment.path, 'existing', (file) =>
    readFrom(file, owner, segment, { start, wanted, guess }),
  );
}

interface Search {
  readonly start: Place;
  readonly wanted: Wanted;
  readonly guess: number;
}

async function readFrom(file: LogFile, owner: BlockOwner, segment: Segment, search: Search): Promise<Block> {
  const { start, wanted } = search;
  let bytes = await readBytes(file, segment, start.position, search.guess);
  const target = seek(bytes, segment, start, wanted.offset);
  const length = looseHead(bytes, target.position - start.position).length;
  if (target.position + length > segment.written) throw segment.damaged(target.position, `length ${length}`);
  if (target.position - start.position + length > bytes.length) {
    bytes = await readBytes(file, segment, target.position, Math.max(length, wanted.maxBytes));
  } else bytes = bytes.subarray(target.position - start.position);
  const block = new Block(owner, segment, target, bytes);
  admitChecked(block, bytes, segment, wanted.maxBytes);
  return block;
}

async function readBytes(file: LogFile, segment: Segment, position: number, wish: number): Promise<Buffer> {
  const want = Math.min(wish, segment.written - position);
  const bytes = Buffer.allocUnsafeSlow(want);
  const filled = await file.read(bytes, position);
  if (filled < want) throw segment.damaged(position + filled, 'the file ends too early');
  return bytes;
}

/** The batch that holds `offset`. Batches before it are passed by their heads alone. */
function seek(bytes: Buffer, segment: Segment, start: Place, offset: number): Place {
  let place = start;
  for (;;) {
    const at = place.position - start.position;
    if (at + HEAD_BYTES > bytes.length)
      throw segment.damaged(place.position, `no batch with offset ${offset}`);
    const head = looseHead(bytes, at);
    if (head.baseOffset !== place.offset || head.count === 0 || head.length < HEAD_BYTES) {
      throw segment.damaged(place.position, `no batch with offset ${place.offset}`);
    }
    if (offset < place.offset + head.count) return place;
    place = { offset: place.offset + head.count, position: place.position + head.length };
  }
}

/** A damaged batch behind the first one ends the block: it is reported to whoever asks for it. */
function admitChecked(block: Block, bytes: Buffer, segment: Segment, maxBytes: number): void {
  while (block.length + HEAD_BYTES <= bytes.length && (block.length === 0 || block.length < maxBytes)) {
    const head = looseHead(bytes, block.length);
    if (block.length > 0 && block.length + head.length > bytes.length) break;
    try {
      const place = { offset: block.nextOffset, position: block.position + block.length };
      checkBatch(bytes, block.length, segment, place);
    } catch (error) {
      if (block.length === 0) throw error;
      break;
    }
    block.admit(head.length, head.count);
  }
  block.written = block.length;
  block.endGrowth();
}
