// A quiet client beside a load: one read after the other on a connection of its own, and what the server says
// of itself.
import { readFileSync } from 'node:fs';
import { connect } from '@flowmesh/client';
import type { ServerProcess } from '../../test/support/server-process.ts';
import { quantile, sleep } from './windows.ts';

export interface Window {
  /** Of reads that were answered, ms. */
  readonly p99: number;
  readonly residentMax: number;
  readonly states: readonly string[];
}

export type Probe = ReturnType<typeof startProbe>;

const PAUSE_MS = 50;

export function startProbe(server: ServerProcess) {
  let isOver = false;
  let latencies: number[] = [];
  const run = async () => {
    const fm = await connect({ address: server.address });
    await fm.kv.set('probe', 'x');
    while (!isOver) {
      const startMs = performance.now();
      await fm.kv.get('probe').catch(() => undefined);
      latencies.push(performance.now() - startMs);
      await sleep(PAUSE_MS);
    }
    await fm.close();
  };
  const running = run();
  running.catch(() => undefined);
  const ask = (path: string) =>
    fetch(`http://127.0.0.1:${server.httpPort}${path}`, { signal: AbortSignal.timeout(20_000) });

  return {
    async window(ms: number): Promise<Window> {
      latencies = [];
      const states = new Set<string>();
      let residentMax = 0;
      for (const endMs = performance.now() + ms; performance.now() < endMs; await sleep(250)) {
        residentMax = Math.max(residentMax, residentBytes(server.child.pid ?? 0));
        const ready = await ask('/readyz').then(
          async (response) => {
            const { status, reason } = (await response.json()) as { status?: string; reason?: string };
            return reason?.split(':')[0] ?? `${status}`;
          },
          () => 'no answer',
        );
        states.add(ready);
      }
      return { p99: quantile(latencies, 0.99), residentMax, states: [...states] };
    },
    /** How long it takes until five seconds of reads are as wanted. */
    async until(withinMs: number, isNormal: (p99: number) => boolean): Promise<number | undefined> {
      const startMs = performance.now();
      while (performance.now() - startMs < withinMs) {
        latencies = [];
        const fromMs = performance.now();
        await sleep(5000);
        if (latencies.length > 10 && isNormal(quantile(latencies, 0.99))) return fromMs - startMs;
      }
      return undefined;
    },
    async enqueued(queue: string): Promise<number> {
      const response = await ask(`/v1/queues/${queue}`);
      if (response.status === 404) return 0;
      return ((await response.json()) as { figures: { enqueuedTotal: number } }).figures.enqueuedTotal;
    },
    close() {
      isOver = true;
    },
  };
}

/** Linux; elsewhere 0. */
function residentBytes(pid: number): number {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    return pages * 4096;
  } catch {
    return 0;
  }
}
