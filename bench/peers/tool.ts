// Load generators that are programs: run to their end, what they said is the answer.
import { join } from 'node:path';
import { startHelper } from './process.ts';

export function tool(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = startHelper(command, args);
    let [out, errors] = ['', ''];
    child.stdout?.on('data', (text) => {
      out += text;
    });
    child.stderr?.on('data', (text) => {
      errors += text;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${command}: ${(errors || out).trim().slice(-300)}`)),
    );
  });
}

/** A script of bench/, by its path from here. */
export const script = (file: string, args: object): Promise<string> =>
  tool(process.execPath, [
    ...['--conditions=flowmesh-source', join(import.meta.dirname, file)],
    JSON.stringify(args),
  ]);

export const lastLine = <R>(said: string): R => JSON.parse(said.trim().split('\n').at(-1) ?? '') as R;
