// The command line in-process: a terminal that remembers what was written to it, and a server made of
// answers.
import { Readable, Writable } from 'node:stream';
import type { MessageType } from '@flowmesh/protocol/gen/flowmesh.js';
import picocolors from 'picocolors';
import type { Api } from '../../cli/client.ts';
import type { Host } from '../../cli/context.ts';
import type { DevHost } from '../../cli/dev/dev.ts';
import { run } from '../../cli/run.ts';
import type { Terminal } from '../../cli/terminal.ts';

/** Noon of a day in winter, local time. */
export const noonMs = new Date(2026, 0, 31, 12, 0, 0).getTime();

export interface Screen {
  columns?: number;
  tty?: boolean;
  errTty?: boolean;
  color?: boolean;
  stdin?: string | Readable;
  /** `stdin` is typed, not piped. */
  stdinTty?: boolean;
  env?: Record<string, string>;
  nowMs?: () => number;
  interrupt?: AbortSignal;
  startServer?: DevHost['startServer'];
}

export function fakeTerminal(screen: Screen = {}) {
  const { columns = 80, tty = false, errTty = false, color = false, env = {}, stdin } = screen;
  const written = { out: [] as Buffer[], err: '' };
  const input = Object.assign(
    typeof stdin === 'object' ? stdin : Readable.from(stdin === undefined ? [] : [Buffer.from(stdin)]),
    {
      isTTY: screen.stdinTty ?? stdin === undefined,
    },
  );
  const stderr = new Writable({
    write(chunk, _encoding, done) {
      written.err += chunk.toString();
      done();
    },
  });
  const terminal: Terminal = {
    out: (content) => void written.out.push(Buffer.from(content)),
    err: (text) => {
      written.err += text;
    },
    stderr: Object.assign(stderr, { isTTY: errTty, columns }),
    stdin: input,
    isTty: tty,
    isErrTty: errTty,
    columns: () => columns,
    colors: picocolors.createColors(color),
    errColors: picocolors.createColors(color),
    env,
    nowMs: screen.nowMs ?? (() => noonMs),
    interrupted: () => screen.interrupt ?? new AbortController().signal,
  };
  return {
    terminal,
    get out() {
      return Buffer.concat(written.out).toString();
    },
    get bytes() {
      return Buffer.concat(written.out);
    },
    get err() {
      return written.err;
    },
  };
}

/** Calls that a command made, in order: the name of the method and the request. */
export type Calls = [method: string, request: Record<string, unknown>][];

export type Answers = { [Method in keyof Api]?: (request: never, signal: AbortSignal) => unknown };

export function fakeApi(answers: Answers, calls: Calls = []): Api {
  let seq = 0;
  const own = { mutation: () => ({ producerId: 'test', seq: ++seq }), close: () => {} };
  return new Proxy(own as unknown as Api, {
    get(target, name: keyof Api) {
      if (name === 'mutation' || name === 'close') return target[name];
      if (typeof name === 'symbol' || (name as string) === 'then') return undefined;
      return (request: never, signal: AbortSignal) => {
        calls.push([name, request]);
        const answer = answers[name];
        if (answer === undefined) throw new Error(`nobody expected ${name}`);
        const result = answer(request, signal);
        return name === 'follow' || name === 'watch' ? result : Promise.resolve(result);
      };
    },
  });
}

export interface Ran {
  code: number;
  out: string;
  bytes: Buffer;
  err: string;
  calls: Calls;
}

/** A message as it comes from the wire: every field is there, those that were not set with their default. */
export const received = <Message, Input>(type: MessageType<Message, Input>, fields: Input): Message =>
  type.decode(type.encode(fields).finish(true));

/**
 * `flowmesh` with these arguments, against a server that gives these answers, or a real connection. A text is
 * parted at spaces, a list is taken as it is.
 */
export async function flowmesh(
  line: string | string[],
  answers: Answers | Host['connect'] = {},
  screen: Screen = {},
): Promise<Ran> {
  const args = typeof line === 'string' ? line.split(' ') : line;
  const seen = fakeTerminal(screen);
  const calls: Calls = [];
  const host: Host & DevHost = {
    terminal: seen.terminal,
    version: '1.2.3',
    connect: typeof answers === 'function' ? answers : async () => fakeApi(answers, calls),
    startServer: screen.startServer ?? (() => Promise.reject(new Error('no server in this test'))),
  };
  const code = await run(args, host);
  return { code, out: seen.out, bytes: seen.bytes, err: seen.err, calls };
}
