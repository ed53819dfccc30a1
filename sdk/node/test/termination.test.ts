// What SIGTERM does, with a process of the test's own.
import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import { ownBuild, ownName } from '../src/identity.ts';
import { type Drainable, Termination } from '../src/termination.ts';

class FakeProcess extends EventEmitter {
  pid = 7;
  readonly killed: string[] = [];
  kill(pid: number, signal: string): void {
    this.killed.push(`${signal} ${pid}`);
  }
  exit(code: number): void {
    this.killed.push(`exit ${code}`);
  }
}

class Client implements Drainable {
  readonly steps: string[] = [];
  finish = () => {};
  drain(): Promise<void> {
    this.steps.push('drain');
    return new Promise((resolve) => {
      this.finish = resolve;
    });
  }
  async close(): Promise<void> {
    this.steps.push('close');
  }
}

let signals: FakeProcess;
let termination: Termination;
beforeEach(() => {
  signals = new FakeProcess();
  termination = new Termination(signals);
});
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('[E1] one listener for all clients, and none without work', () => {
  const [a, b] = [new Client(), new Client()];
  termination.add(a);
  termination.add(b);
  termination.add(a);
  expect(signals.listenerCount('SIGTERM')).toBe(1);
  termination.remove(a);
  expect(signals.listenerCount('SIGTERM')).toBe(1);
  termination.remove(b);
  termination.remove(b);
  expect(signals.listenerCount('SIGTERM')).toBe(0);
});

test('every client is drained, then closed, then the process ends by the signal', async () => {
  const [a, b] = [new Client(), new Client()];
  termination.add(a);
  termination.add(b);
  signals.emit('SIGTERM');
  a.finish();
  await turn();
  expect([a.steps, b.steps, signals.killed]).toEqual([['drain'], ['drain'], []]);
  b.finish();
  await turn();
  expect([a.steps, b.steps]).toEqual([
    ['drain', 'close'],
    ['drain', 'close'],
  ]);
  expect(signals.killed).toEqual(['SIGTERM 7']);
  expect(signals.listenerCount('SIGTERM')).toBe(0);
});

test('[E2] with another listener it drains, and leaves the end to that one', async () => {
  const client = new Client();
  signals.on('SIGTERM', () => {});
  termination.add(client);
  signals.emit('SIGTERM');
  client.finish();
  await turn();
  expect([client.steps, signals.killed]).toEqual([['drain'], []]);
});

test('[E2] so with one that listens once, and has done so for longer', async () => {
  const client = new Client();
  signals.once('SIGTERM', () => {});
  termination.add(client);
  signals.emit('SIGTERM');
  client.finish();
  await turn();
  expect([client.steps, signals.killed]).toEqual([['drain'], []]);
});

test('[E3] a second signal ends the process at once', () => {
  const client = new Client();
  termination.add(client);
  signals.emit('SIGTERM');
  expect(signals.killed).toEqual([]);
  signals.emit('SIGTERM');
  expect([client.steps, signals.killed]).toEqual([['drain'], ['SIGTERM 7']]);
});

test('[E4] the first process of a container exits, as no signal ends it', async () => {
  const client = new Client();
  signals.pid = 1;
  termination.add(client);
  signals.emit('SIGTERM');
  client.finish();
  await turn();
  expect([client.steps, signals.killed]).toEqual([['drain', 'close'], ['exit 143']]);
});

test('a worker is called as its pod is', () => {
  const pod = { KUBERNETES_SERVICE_HOST: '10.0.0.1', HOSTNAME: 'emails-7d9f-x2x4z' };
  expect(ownName(pod)).toBe('emails-7d9f-x2x4z');
  expect(ownName({ ...pod, POD_NAME: 'emails-1' })).toBe('emails-1');
  expect(ownName({ HOSTNAME: 'laptop' })).toMatch(new RegExp(`^.+:${process.pid}$`));
  expect([ownBuild({ FLOWMESH_BUILD: 'v2' }), ownBuild({})]).toEqual(['v2', '']);
});
