// Any bytes, cut anywhere: the server stays up, serves everybody else meanwhile, and its memory stays flat.
// FLOWMESH_REDIS_FUZZ chooses how many inputs; `npm run test:redis-fuzz` sends 1,000,000.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { type FuzzInput, fuzzInputs } from './fuzz-inputs.ts';
import { RespClient } from './resp-client.ts';

const INPUTS = Number(process.env.FLOWMESH_REDIS_FUZZ ?? 8000);
const SEED = Number(process.env.FLOWMESH_REDIS_FUZZ_SEED ?? 1);
const SENDERS = 32;
/** Of keys at hand, absent ones too: so little that they have their size when it is warm. */
const KEYS_BYTES_MAX = 8 * 1024 * 1024;
/** What caches, pools and the collector take until they have their size. */
const WARM_UP = Math.min(100_000, Math.ceil(INPUTS / 4));
/** Of what is alive after a collection: nothing is kept. */
const ALIVE_BYTES_MAX = 16 * 1024 * 1024;
/** With V8's young generation, which a start gives back and traffic brings to its size again (34 MB). */
const GROWTH_BYTES_MAX = (48 + 34) * 1024 * 1024;
/** On a busy machine; a server that hangs answers never. */
const ANSWER_MS_MAX = 5000;
const PIECE_MS = 2;

const megabytes = (bytes: number) => Math.round(bytes / 1e6);

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(): Promise<ServerProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-fuzz-'));
  open.push(() => rmSync(dir, { recursive: true, force: true }));
  const server = await startServerProcess({
    dataDir: dir,
    redisPort: 0,
    storage: { keysBytesMax: KEYS_BYTES_MAX },
  });
  open.push(() => server.kill('SIGKILL'));
  return server;
}

/** Sends an input over a connection of its own; resolves when the server has closed its side. */
async function send(port: number, { pieces, end }: FuzzInput): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.resume();
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    if (pieces.length > 1) await new Promise((resolve) => setTimeout(resolve, PIECE_MS));
  }
  if (end === 'reset') socket.resetAndDestroy();
  else socket.end();
  await closed;
}

/** Another client: what it wrote is there, and nobody makes it wait. Returns how long it waited at most. */
async function watch(port: number, isOver: () => boolean): Promise<{ rounds: number; slowestMs: number }> {
  const client = await RespClient.open(port);
  open.push(() => client.close());
  expect(await client.send('SELECT', 14)).toBe('OK');
  let rounds = 0;
  let slowestMs = 0;
  for (; !isOver(); rounds++) {
    const startMs = performance.now();
    const [, , , replies] = await client.pipeline([['MULTI'], ['SET', 'k', rounds], ['GET', 'k'], ['EXEC']]);
    expect(replies).toEqual(['OK', String(rounds)]);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    if (rounds % 500 === 0) await flushAll(client);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await flushAll(client);
  return { rounds, slowestMs };
}

/** What the inputs store is no leak. */
async function flushAll(client: RespClient): Promise<void> {
  for (const database of [0, 1, 14])
    await client.pipeline([['SELECT', database], ['FLUSHDB'], ['SELECT', 14]]);
}

test(`${INPUTS} inputs crash nothing, hold up nobody and leave nothing behind`, {
  timeout: 3_600_000,
}, async () => {
  const server = await serve();
  const inputs = fuzzInputs(SEED);
  let sent = 0;
  let warm: NodeJS.MemoryUsage | undefined;
  const watched = watch(server.redisPort, () => sent >= INPUTS);
  const sender = async () => {
    while (sent < INPUTS) {
      if (server.child.exitCode !== null) throw new Error(`the server ended: ${server.stderr()}`);
      const number = ++sent;
      await send(server.redisPort, inputs.next().value);
      if (number === WARM_UP) warm = await server.memory();
    }
  };
  await Promise.all(Array.from({ length: SENDERS }, sender));
  const { rounds, slowestMs } = await watched;
  expect(rounds).toBeGreaterThan(0);
  expect(slowestMs).toBeLessThan(ANSWER_MS_MAX);
  // A connection that failed unexpectedly, and a rejection that nobody handles, would be told there.
  expect(server.stderr()).toBe('');
  expect(server.child.exitCode).toBeNull();
  const end = await server.memory();
  const shown = (memory = end) =>
    `${megabytes(memory.rss)} MB (heap ${megabytes(memory.heapUsed)}, buffers ${megabytes(memory.external)})`;
  process.stdout.write(
    `${INPUTS} inputs: ${rounds} rounds of another client, slowest ${Math.round(slowestMs)} ms, ` +
      `memory ${shown(warm)}, then ${shown()}\n`,
  );
  const alive = (memory = end) => memory.heapUsed + memory.external;
  expect(alive() - alive(warm)).toBeLessThan(ALIVE_BYTES_MAX);
  expect(end.rss - (warm?.rss ?? 0)).toBeLessThan(GROWTH_BYTES_MAX);
});

const VERBS = ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'POST /v1 HTTP/1.1\r\n', 'PUT', 'Host: x\r\n', 'h'];

test('what begins like HTTP closes the connection at once, one byte at a time as well', async () => {
  const server = await serve();
  for (const text of VERBS) {
    const socket = connect({ port: server.redisPort, host: '127.0.0.1', noDelay: true });
    let answer = '';
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    socket.on('error', () => {});
    const closed = once(socket, 'close');
    for (const letter of text) if (!socket.destroyed) socket.write(letter);
    await closed;
    expect(answer).toMatch(/^-ERR Protocol error: [^\r]*\r\n$/);
  }
});
