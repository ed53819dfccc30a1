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

export interface LineSource {
  lines: AsyncIterable<{ text: string; bytes: number; number: number }>;
  /** Size of the whole, where it is known: the end of a progress bar. */
  totalBytes: number | undefined;
  name: string;
}

/** Lines of a file, or of standard input for `-`. Empty lines are skipped. */
export async function lineSource(file: string, stdin: Readable & { isTTY?: boolean }): Promise<LineSource> {
  if (file === '-') {
    if (stdin.isTTY) throw usage('there is nothing to read', 'pipe lines in, or give --file');
    return { lines: lines(stdin), totalBytes: undefined, name: 'standard input' };
  }
  const handle = await open(file);
  const { size } = await handle.stat();
  await handle.close();
  return { lines: lines(createReadStream(file)), totalBytes: size, name: file };
}

async function* lines(source: Readable): AsyncGenerator<{ text: string; bytes: number; number: number }> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  const line = (bytes: Buffer, ending: number) => {
    number++;
    return { text: bytes.toString().replace(/\r$/, ''), bytes: bytes.length + ending, number };
  };
  for await (const part of source) {
    let from = 0;
    const chunk: Buffer = rest.length === 0 ? Buffer.from(part) : Buffer.concat([rest, Buffer.from(part)]);
    for (let end = chunk.indexOf(10, from); end !== -1; end = chunk.indexOf(10, from)) {
      const found = line(chunk.subarray(from, end), 1);
      from = end + 1;
      if (found.text !== '') yield found;
    }
    rest = chunk.subarray(from);
    if (rest.length > LIMITS.valueBytes * 2) {
      throw new CliError(
        `line ${number + 1} is longer than 2 MiB`,
        'one record a line, each of at most 1 MiB',
      );
    }
  }
  if (rest.length > 0) yield line(rest, 0);
}
