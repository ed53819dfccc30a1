// What clients asked of keys and what they were told, and when; and what Porcupine says of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { FlowError } from '@flowmesh/client';

export interface Input {
  kind: 'get' | 'set' | 'create' | 'swap' | 'delete' | 'increment';
  value?: string;
  ifRevision?: number;
  delta?: number;
}

export interface Output {
  /** The outcome is unknown: the operation may still take effect at any time. */
  unknown?: boolean;
  found?: boolean;
  value?: string;
  revision?: number;
}

export interface Operation {
  client: number;
  key: string;
  /** Nanoseconds. */
  call: number;
  return: number;
  input: Input;
  output: Output;
}

/** What a call may end with when its server is killed. */
const OUTCOME_UNKNOWN = new Set(['DEADLINE_EXCEEDED', 'UNAVAILABLE', 'CANCELLED']);

const nowNs = () => Math.round(performance.now() * 1e6);

export class History {
  readonly operations: Operation[] = [];

  async record(client: number, key: string, input: Input, run: () => Promise<Output>): Promise<Output> {
    const call = nowNs();
    let output: Output;
    try {
      output = await run();
    } catch (error) {
      if (!(error instanceof FlowError) || !OUTCOME_UNKNOWN.has(error.code)) throw error;
      output = { unknown: true };
    }
    // A read that got no answer says nothing.
    if (output.unknown && input.kind === 'get') return output;
    this.operations.push({ client, key, call, return: nowNs(), input, output });
    return output;
  }

  count(wanted: (operation: Operation) => boolean): number {
    return this.operations.filter(wanted).length;
  }
}

export interface Verdict {
  /** `Ok`, `Illegal` or `Unknown`, by key. */
  keys: Record<string, string>;
  isLinearizable: boolean;
}

const CHECKER = fileURLToPath(new URL('./checker', import.meta.url));

/** Builds the checker if it has to; Go brings its one module along if it is not there yet. */
export async function check(operations: readonly Operation[]): Promise<Verdict> {
  const child = spawn('go', ['run', '.'], { cwd: CHECKER, stdio: ['pipe', 'pipe', 'pipe'] });
  const failed = once(child, 'error').then(([error]) => {
    throw new Error('histories are checked by a Go program: install Go 1.24 or newer', { cause: error });
  });
  child.stdin.end(JSON.stringify(operations));
  const said = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const [out, err] = await Promise.race([said, failed]);
  if (out === '') throw new Error(`the checker has no verdict: ${err}`);
  const keys = JSON.parse(out) as Record<string, string>;
  return { keys, isLinearizable: Object.values(keys).every((verdict) => verdict === 'Ok') };
}
