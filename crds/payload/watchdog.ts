// Runs what may take long, and ends it. Nothing else can stop a function of this thread.
//   W1. What was ended has no answer; whatever it had begun to change is to be thrown away.
//   W2. Time in which this process did not run (it was stopped, or others had the processor) does not count.
import { createContext, Script } from 'node:vm';

export const TOO_LONG: unique symbol = Symbol('too long');

/** Runs that lost their time to others are begun again, with twice the time. */
const TRIES_MAX = 6;

const context: { run: () => void } = { run: () => {} };
/** Made when it is needed first: a context is a megabyte. */
let inside: object | undefined;
const script = new Script('run()');

/** `run` may be begun several times. */
export function within<R>(limitMs: number, run: () => R): R | typeof TOO_LONG {
  inside ??= createContext(context);
  for (let tries = 1; ; tries++) {
    const startedUs = usedUs();
    let answer: R | typeof TOO_LONG = TOO_LONG;
    context.run = () => {
      answer = run();
    };
    try {
      script.runInContext(inside, { timeout: limitMs * 2 ** (tries - 1) });
      return answer;
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      const ranMs = (usedUs() - startedUs) / 1000;
      if (ranMs > limitMs * 0.7 || tries >= TRIES_MAX) return TOO_LONG;
    } finally {
      context.run = () => {};
    }
  }
}

function usedUs(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
