// The Redis listener: keys and values for clients that speak RESP2 or RESP3. What it serves is in tables.ts
// and session.ts, how it differs from Redis in docs/redis.md.
//   L1. A command without an entry in the permission table stops the start.
//   L2. A connection that leaves a request unfinished for REQUEST_TIMEOUT_MS is closed.
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, TLSSocket } from 'node:tls';
import { FlowError } from '@flowmesh/protocol';
import type { Runtime } from '../../runtime.ts';
import type { Fabric } from '../../services.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Access } from '../access.ts';
import type { Listener } from '../grpc/server.ts';
import { checkServing, closing } from '../refusals.ts';
import { contextOf, HANDSHAKE_TIMEOUT_MS, type LiveTls, requestOf } from '../tls.ts';
import { Connection } from './connection.ts';
import { Cursors } from './cursors.ts';
import { Executor } from './executor.ts';
import { ReplyWriter } from './reply.ts';
import { Scans } from './scans.ts';
import { SESSION, type ServerParts } from './session.ts';
import { COMMANDS } from './tables.ts';

export interface RedisOptions {
  readonly fabric: Fabric;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly access: Access;
  readonly log: Log;
  readonly runtime: Runtime;
  readonly version: string;
  readonly connectionsMax?: number;
  readonly tls?: LiveTls | undefined;
}

const CONNECTIONS_MAX = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

export async function startRedis(o: RedisOptions): Promise<Listener> {
  const { fabric, host, access, log, runtime, version } = o;
  for (const name of COMMANDS.keys()) access.isOpen(`redis ${name}`); // L1
  for (const [name, { verb }] of SESSION) if (verb !== undefined) access.isOpen(`redis ${name}`);
  const connections = new Map<Socket, Connection>();
  let isClosing = false;
  let nextId = 1;
  const clock = { nowMs: runtime.wallMs, random: runtime.random };
  const pause = (ms: number) => new Promise<void>((resolve) => void runtime.after(ms, resolve));
  const writer = new ReplyWriter();
  const executor = new Executor({ fabric, clock, pause });
  const server: ServerParts = {
    fabric,
    scans: new Scans(fabric.kv, new Cursors()),
    version,
    startedMs: runtime.wallMs(),
    ...clock,
    connections: () => connections.size,
    port: () => (listener.address() as AddressInfo).port,
  };
  const refusal = () => {
    if (isClosing) return closing();
    try {
      checkServing(fabric.state());
      return null;
    } catch (error) {
      return error as FlowError;
    }
  };
  const accept = (socket: Socket) => {
    const onError = (err: unknown) => log.error({ event: 'redis.failed', err }, 'a Redis connection failed');
    connections.set(
      socket,
      new Connection({
        id: nextId++,
        socket,
        access: accessOf(access, socket),
        executor,
        kv: fabric.kv,
        writer,
        server,
        refusal,
        monotonicMs: runtime.monotonicMs,
        onError,
      }),
    );
    socket.once('close', () => connections.delete(socket));
  };
  const listener = o.tls === undefined ? createServer({ keepAlive: true }, accept) : secure(o.tls, accept);
  /** Those that have not said yet who they are, too. */
  const sockets = new Set<Socket>();
  listener.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  listener.maxConnections = o.connectionsMax ?? CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    listener.once('error', (cause) =>
      reject(new FlowError('UNAVAILABLE', `cannot listen on ${host}:${o.port}: ${cause.message}`, { cause })),
    );
    listener.listen(o.port, host, resolve);
  });
  const { port } = listener.address() as AddressInfo;
  log.info({ event: 'redis.listening', host, port }, 'Redis listener is up');
  const sweep = () => {
    const nowMs = runtime.monotonicMs();
    for (const [socket, { unfinishedSinceMs }] of connections) {
      if (unfinishedSinceMs !== 0 && nowMs - unfinishedSinceMs > REQUEST_TIMEOUT_MS) socket.destroy(); // L2
    }
    cancelSweep = runtime.after(REQUEST_TIMEOUT_MS / 6, sweep);
  };
  let cancelSweep = runtime.after(REQUEST_TIMEOUT_MS / 6, sweep);

  return {
    port,
    async close(graceMs) {
      isClosing = true;
      cancelSweep();
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      for (const [socket, connection] of connections) if (connection.isIdle) socket.destroy();
      const cancel = runtime.after(graceMs, () => {
        for (const socket of sockets) socket.destroy();
      });
      await closed;
      cancel();
    },
  };
}

function secure(tls: LiveTls, accept: (socket: Socket) => void): Server {
  const { current } = tls;
  const options = { ...requestOf(current), ...contextOf(current), handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
  const server = createTlsServer({ ...options, keepAlive: true }, accept);
  // A handshake that fails is the client's affair: its socket is closed already.
  server.on('tlsClientError', () => {});
  const unfollow = tls.follow((next) => server.setSecureContext(contextOf(next)));
  server.once('close', unfollow);
  return server;
}

/** As that of the listener, for a client whose certificate says who it is. */
function accessOf(access: Access, socket: Socket): Access {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return access;
  const name: unknown = socket.getPeerCertificate().subject?.CN;
  const certificate = Array.isArray(name) ? String(name[0]) : (name as string | undefined);
  return { ...access, identify: (credentials) => access.identify({ certificate, ...credentials }) };
}
