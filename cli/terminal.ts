// What a command sees of the world around it: where its output goes, whether a person looks at it, the
// environment, the time. Handed in, so that tests run commands in-process and look at what a terminal of 80
// columns would show.
import type { Readable, Writable } from 'node:stream';
import picocolors from 'picocolors';

export type Colors = ReturnType<typeof picocolors.createColors>;

export interface Terminal {
  /** Standard output: results, and nothing else. Bytes leave as they are. */
  out(content: string | Uint8Array): void;
  /** Standard error: hints, progress, errors. */
  err(text: string): void;
  /** The same as a stream, for what draws on it: progress bars, questions. */
  readonly stderr: Writable;
  readonly stdin: Readable & { isTTY?: boolean };
  /** A person reads standard output. */
  readonly isTty: boolean;
  /** A person reads standard error; progress bars go there. */
  readonly isErrTty: boolean;
  columns(): number;
  readonly colors: Colors;
  readonly errColors: Colors;
  readonly env: Readonly<Record<string, string | undefined>>;
  nowMs(): number;
  /** Aborted by the first Ctrl-C, for commands that end in their own time. The second ends the process. */
  interrupted(): AbortSignal;
}

export function processTerminal(): Terminal {
  const { stdout, stderr, stdin, env } = process;
  // A reader that has seen enough (`| head`) is no failure.
  stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const colored = (stream: NodeJS.WriteStream) => picocolors.createColors(wantsColor(stream.isTTY, env));
  let interrupt: AbortController | undefined;
  return {
    out: (content) => void stdout.write(content),
    err: (text) => void stderr.write(text),
    stderr,
    stdin,
    isTty: stdout.isTTY === true,
    isErrTty: stderr.isTTY === true,
    columns: () => stdout.columns || 80,
    colors: colored(stdout),
    errColors: colored(stderr),
    env,
    nowMs: () => Date.now(),
    interrupted: () => {
      if (interrupt === undefined) {
        const controller = new AbortController();
        for (const signal of ['SIGINT', 'SIGTERM'] as const) {
          process.on(signal, () => {
            if (controller.signal.aborted) process.exit(130);
            controller.abort(signal);
          });
        }
        interrupt = controller;
      }
      return interrupt.signal;
    },
  };
}

/** https://no-color.org: any value that is not empty. FORCE_COLOR is for recordings and CI. */
export function wantsColor(isTty: boolean | undefined, env: Terminal['env']): boolean {
  if (env['NO_COLOR']) return false;
  if (env['FORCE_COLOR']) return env['FORCE_COLOR'] !== '0';
  return isTty === true && env['TERM'] !== 'dumb';
}
