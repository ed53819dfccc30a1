// What a queue reads ahead (dataplane/queue/line-bytes.ts).
import { expect, test, vi } from 'vitest';
import type { QueueCell } from '../../dataplane/queue/cell.ts';
import { LineBytes } from '../../dataplane/queue/line-bytes.ts';
import type { ViewContext } from '../../dataplane/shard/state-machine.ts';

test('nothing is begun beside what is being read: nobody would hear of its failure', async () => {
  const wake = vi.fn();
  const bytes = new LineBytes({} as QueueCell, { wake } as unknown as ViewContext);
  const first = Promise.withResolvers<void>();
  const second = vi.fn(() => Promise.reject(new Error('EIO')));
  bytes.load(() => first.promise);
  bytes.load(second);
  expect(second).not.toHaveBeenCalled();

  first.resolve();
  await vi.waitFor(() => expect(wake).toHaveBeenCalledTimes(1), 20_000);
  bytes.load(second);
  expect(second).toHaveBeenCalledTimes(1);
  await vi.waitFor(() => expect(bytes.isLoading).toBe(false), 20_000);
});
