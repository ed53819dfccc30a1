// What every command gets: the terminal, the global options, and a connection that is made at first use.
// `action` turns a handler into what commander calls.
import type { Command } from 'commander';
import type { Api, Target } from './client.ts';
import { inJson } from './json.ts';
import type { Terminal } from './terminal.ts';
import { printable } from './text.ts';

/** The doors to the outside that tests replace. */
export interface Host {
  terminal: Terminal;
  connect(target: Target): Promise<Api>;
}

export interface Globals extends Target {
  output: 'table' | 'json';
}

export class Context {
  readonly terminal: Terminal;
  readonly globals: Globals;
  readonly #host: Host;
  #api: Promise<Api> | undefined;

  constructor(host: Host, globals: Globals) {
    this.terminal = host.terminal;
    this.globals = globals;
    this.#host = host;
  }

  get isJson(): boolean {
    return this.globals.output === 'json';
  }

  api(): Promise<Api> {
    return this.connectTo({ ...this.globals, caText: this.terminal.env['FLOWMESH_CA'] });
  }

  /** One connection a command; it is closed when the command ends. */
  connectTo(target: Target): Promise<Api> {
    this.#api ??= this.#host.connect(target);
    return this.#api;
  }

  /** The result: one JSON document for scripts, or text for people. */
  show(json: unknown, text: () => string): void {
    this.terminal.out(this.isJson ? `${inJson(json, 2)}\n` : text());
  }

  /** One of many results, as they come: JSON on one line each. */
  showLine(json: unknown, text: () => string): void {
    this.terminal.out(this.isJson ? `${inJson(json)}\n` : text());
  }

  /** A remark beside the result. Never on standard output, so that pipes stay clean. */
  hint(text: string): void {
    if (this.terminal.isErrTty || !this.isJson)
      this.terminal.err(`${this.terminal.errColors.dim(printable(text, true))}\n`);
  }

  async close(): Promise<void> {
    const opened = this.#api;
    if (opened === undefined) return;
    this.#api = undefined;
    // A connection that failed has been reported by whoever asked for it.
    (await opened.catch(() => undefined))?.close();
  }
}

export type Handler<Args extends unknown[], Options> = (
  context: Context,
  options: Options,
  ...args: Args
) => Promise<void> | void;

/** Commander calls with (...arguments, options, command). */
export type Action = <Args extends unknown[], Options = Record<string, never>>(
  handler: Handler<Args, Options>,
) => (...given: unknown[]) => Promise<void>;

export function actionFor(host: Host, onContext: (context: Context) => void): Action {
  return (handler) =>
    async (...given) => {
      const command = given.at(-1) as Command;
      const context = new Context(host, command.optsWithGlobals());
      onContext(context);
      try {
        await handler(context, command.optsWithGlobals() as never, ...(given.slice(0, -2) as never));
      } finally {
        await context.close();
      }
    };
}
