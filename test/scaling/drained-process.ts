// A process with workers of one queue, or a member of one group, that is told to end in the midst of it:
// node drained-process.ts '<options as JSON>'. Prints what its handlers do, one line each.
import { connect } from '@flowmesh/client';

interface Options {
  address: string;
  drainTimeout?: string;
  /** Absent: workers of `q`. */
  group?: string;
  /** What the program does at SIGTERM itself. */
  listens?: boolean;
}

const { address, drainTimeout, group, listens } = JSON.parse(process.argv[2] ?? '{}') as Options;
const say = (what: string, id: string) => process.stdout.write(`${what} ${id}\n`);
const pause = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });

const fm = await connect({ address, ...(drainTimeout === undefined ? {} : { drainTimeout }) });
if (listens) {
  process.on('SIGTERM', () => {
    void fm.close().then(() => {
      say('closed', 'by the program');
      process.exit(7);
    });
  });
}
if (group === undefined) {
  fm.queue.worker<number>(
    'q',
    async (job) => {
      say('start', job.id);
      await pause(job.payload, job.signal);
      if (job.signal.aborted) throw new Error('it was told to stop');
      say('end', job.id);
    },
    { concurrency: 4, prefetch: 40 },
  );
  say('ready', 'worker');
} else {
  say('ready', group);
  for await (const event of fm.stream.consumer<number>('s', group)) {
    say('start', `${event.partition}-${event.offset}`);
    await pause(event.value ?? 0);
    say('end', `${event.partition}-${event.offset}`);
  }
  say('over', group);
}
