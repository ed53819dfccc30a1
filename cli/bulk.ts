// Many lines of a file or pipe, sent in batches.
//   B1. Lines of a pipe leave as they come: what has been read is sent before more is waited for.
//   B2. However it ends (an error, Ctrl-C), it says how many are there, which is what one needs to go on.
import type { Context } from './context.ts';
import { interrupted } from './failure.ts';
import { type Line, lineSource } from './input.ts';
import { startProgress } from './progress.ts';
import { counted } from './text.ts';

export interface Bulk<Item> {
  /** A path; `-` is standard input. */
  file: string;
  /** `write orders.events`. */
  title: string;
  /** `record`. */
  unit: string;
  /** `written`. */
  done: string;
  item(line: Line): Item;
  send(items: Item[]): Promise<unknown>;
}

/** One request: well below the server's 10,000 records and 3 MiB. */
const batchItems = 1000;
const batchBytes = 1024 * 1024;

export async function sendLines<Item>(context: Context, bulk: Bulk<Item>): Promise<void> {
  const { terminal } = context;
  const { file, title, unit, done, item, send } = bulk;
  const signal = terminal.interrupted();
  const { chunks, totalBytes, name } = await lineSource(file, terminal.stdin, signal);
  const progress = startProgress(terminal, { title, total: totalBytes, unit: `${unit}s` });
  let batch: Item[] = [];
  let [bytesInBatch, bytesRead, sent] = [0, 0, 0];
  const flush = async () => {
    if (batch.length === 0) return;
    await send(batch);
    sent += batch.length;
    [batch, bytesInBatch] = [[], 0];
    progress.update(bytesRead, sent);
  };
  const soFar = () =>
    sent === 0 ? `nothing of ${name} is ${done}` : `${done} of ${name}: the first ${counted(sent, unit)}`;
  try {
    for await (const lines of chunks) {
      for (const line of lines) {
        if (batch.length >= batchItems || bytesInBatch + line.bytes > batchBytes) await flush();
        if (signal.aborted) break;
        batch.push(item(line));
        bytesInBatch += line.bytes;
        bytesRead += line.bytes;
      }
      await flush(); // B1
      if (signal.aborted) break;
    }
  } catch (error) {
    if (!signal.aborted) {
      context.hint(soFar());
      throw error;
    }
  } finally {
    progress.stop();
  }
  if (signal.aborted) throw interrupted(soFar());
  context.show({ [done]: sent }, () => `${counted(sent, unit)} ${done}\n`);
}
