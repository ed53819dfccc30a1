// What comes from files and pipes: one value, or one record a line, never more in memory than it takes.
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { LIMITS } from '@flowmesh/protocol';
import { CliError, usage } from './failure.ts';

/** A whole pipe as one value; the server takes no larger ones. */
export async function readInput(stdin: Readable): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of stdin) {
    const bytes = Buffer.from(part as Uint8Array);
    length += bytes.length;
    if (length > LIMITS.valueBytes)
      throw new CliError('the input is larger than 1 MiB', 'values have at most 1 MiB');
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}

export interface Line {
  text: string;
  bytes: number;
  /** From 1. */
  number: number;
}

export interface LineSource {
  /** The lines of what was read at once: of a pipe, what was there. Empty lines are left out. */
  chunks: AsyncIterable<Line[]>;
  /** Size of the whole, where it is known: the end of a progress bar. */
  totalBytes: number | undefined;
  name: string;
}

/** Lines of a file, or of standard input for `-`; none after `signal`. */
export async function lineSource(
  file: string,
  stdin: Readable & { isTTY?: boolean },
  signal: AbortSignal,
): Promise<LineSource> {
  if (file === '-') {
    if (stdin.isTTY) throw usage('there is nothing to read', 'pipe lines in, or give --file');
    return { chunks: lines(stdin, signal), totalBytes: undefined, name: 'standard input' };
  }
  const handle = await open(file);
  const { size } = await handle.stat();
  await handle.close();
  return { chunks: lines(createReadStream(file), signal), totalBytes: size, name: file };
}

async function* lines(source: Readable, signal: AbortSignal): AsyncGenerator<Line[]> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  const line = (bytes: Buffer, ending: number): Line => {
    number++;
    return { text: bytes.toString().replace(/\r$/, ''), bytes: bytes.length + ending, number };
  };
  // A pipe that says nothing is left at once.
  const leave = () => source.destroy();
  signal.addEventListener('abort', leave, { once: true });
  try {
    for await (const part of source) {
      let from = 0;
      const found: Line[] = [];
      const chunk: Buffer = rest.length === 0 ? Buffer.from(part) : Buffer.concat([rest, Buffer.from(part)]);
      for (let end = chunk.indexOf(10, from); end !== -1; end = chunk.indexOf(10, from)) {
        found.push(line(chunk.subarray(from, end), 1));
        from = end + 1;
      }
      yield found.filter(({ text }) => text !== '');
      rest = chunk.subarray(from);
      if (rest.length > LIMITS.valueBytes * 2) {
        const where = `line ${number + 1} is longer than 2 MiB`;
        throw new CliError(where, 'one record a line, each of at most 1 MiB');
      }
    }
  } finally {
    signal.removeEventListener('abort', leave);
  }
  if (rest.length > 0) yield [line(rest, 0)];
}
