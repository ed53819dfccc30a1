// What the tests of operator/kube share: a clock in the test's hand, a log that can be read, a client of a
// server.
import { type Client, createClient } from '../../../operator/kube/client.ts';
import type { Credentials } from '../../../operator/kube/credentials.ts';
import type { KubeObject, Resource } from '../../../operator/kube/objects.ts';
import type { KubeLog, KubeLogFields } from '../../../operator/kube/telemetry.ts';
import { createTransport, type Transport } from '../../../operator/kube/transport.ts';
import { type Runtime, realRuntime } from '../../../operator/runtime.ts';

/** Time stands still until the test moves it. */
export class TestRuntime implements Runtime {
  #nowMs = 1_000_000;
  #timers: { atMs: number; run: () => void }[] = [];
  chance = 0.5;

  wallMs = () => 1_800_000_000_000 + this.#nowMs;
  monotonicMs = () => this.#nowMs;
  random = () => this.chance;
  soon = (run: () => void) => void setImmediate(run);

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, ms), run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  /** Fires what is due on the way, in order; what that starts has run until it waits. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settle();
      const next = this.#timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = endMs;
    await settle();
  }

  /** The process was paused: timers are late. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }
}

/** Everything that needs no IO has run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** For real IO: looks until it is so. */
export async function until(what: string, holds: () => boolean, withinMs = 10_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Real time, thirty times as fast. */
export const fastRuntime: Runtime = {
  ...realRuntime,
  monotonicMs: () => realRuntime.monotonicMs() * 30,
  random: () => 0.5,
  after: (ms, run) => realRuntime.after(ms / 30, run),
};

export function testLog(): KubeLog & { lines: (KubeLogFields & { level: string })[] } {
  const lines: (KubeLogFields & { level: string })[] = [];
  const log = (bound: object): KubeLog => {
    const write = (level: string) => (fields: KubeLogFields) =>
      void lines.push({ level, ...bound, ...fields });
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
      child: (fields) => log({ ...bound, ...fields }),
    };
  };
  return { ...log({}), lines };
}

export function clientOf(
  server: string,
  runtime: Runtime = fastRuntime,
): { client: Client; transport: Transport } {
  const credentials: Credentials = {
    server,
    namespace: 'ops',
    access: async () => ({ headers: { authorization: 'Bearer test' }, tls: {} }),
    forget() {},
  };
  const transport = createTransport({ credentials, runtime, userAgent: 'test' });
  return { client: createClient(transport), transport };
}

export interface Widget extends KubeObject {
  spec?: { size?: number; parentRef?: string };
  status?: { ready?: boolean; conditions?: unknown[] };
}

export const WIDGETS: Resource<Widget> = {
  group: 'test.flowmesh.io',
  version: 'v1',
  plural: 'widgets',
  kind: 'Widget',
  namespaced: true,
};

export const widgetsIn = (namespace: string) => `/apis/test.flowmesh.io/v1/namespaces/${namespace}/widgets`;
