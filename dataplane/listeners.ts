// The doors of a server: who may come in, over what, and how they are opened and closed together.
//   L1. Credentials are read, and refused if they are not right, before anything is opened.
//   L2. Before the fabric is there, probes are answered: alive, not ready.
//   L3. All or none: if one cannot be opened, those that are open are closed again.
import { X509Certificate } from 'node:crypto';
import { checkExposure, createAccess, hashToken, type TokenGrant } from './api/access.ts';
import { type Listener, startGrpc } from './api/grpc/server.ts';
import { startEarlyProbes } from './api/http/early-probes.ts';
import { startHttp } from './api/http/server.ts';
import { startRedis } from './api/redis/listener.ts';
import type { LiveTls } from './api/tls.ts';
import { type TlsFiles, watchTls, watchTokens } from './credential-files.ts';
import type { Runtime } from './runtime.ts';
import type { Fabric } from './services.ts';
import type { Log } from './telemetry/log.ts';
import { createMetrics } from './telemetry/metrics.ts';

export interface ListenerOptions {
  readonly host: string;
  /** Where they are not all on `host`. */
  readonly hosts?: { readonly grpc?: string; readonly http?: string; readonly redis?: string } | undefined;
  /** 0: any free one. */
  readonly grpcPort: number;
  readonly httpPort: number;
  /** Unset: no Redis listener. */
  readonly redisPort?: number | undefined;
  /** Names beyond localhost and the bound host that HTTP answers to; '*.example': those below it. */
  readonly allowedHosts?: readonly string[];
  readonly token?: string | undefined;
  /** One token a line; read again when it changes. */
  readonly tokenFile?: string | undefined;
  /** Read again when they change. */
  readonly tls?: TlsFiles | undefined;
  /** How often such files are looked at. */
  readonly reloadMs?: number | undefined;
  /** Serve anybody, also beyond loopback. */
  readonly insecure: boolean;
  /** Answer probes on the HTTP port while the journal is replayed. */
  readonly earlyProbes?: boolean | undefined;
}

export interface Doors {
  /** Opens them for good. */
  open(fabric: Fabric): Promise<Listeners>;
  close(): Promise<void>;
}

export interface Listeners {
  readonly grpc: Listener;
  readonly http: Listener;
  readonly redis: Listener | undefined;
  /** Calls that run may finish within `graceMs`. */
  close(graceMs: number): Promise<void>;
}

const RELOAD_MS = 5000;

export interface DoorParts {
  readonly log: Log;
  readonly runtime: Runtime;
  readonly version: string;
}

export async function prepareDoors(o: ListenerOptions, { log, runtime, version }: DoorParts): Promise<Doors> {
  const hosts = { grpc: o.host, http: o.host, redis: o.host, ...o.hosts };
  const hasToken = o.token !== undefined || o.tokenFile !== undefined;
  const certificates = o.tls?.caTrustedFor;
  const clientCa = certificates === 'scaling' ? undefined : o.tls?.caFile;
  const used = [hosts.grpc, hosts.http, ...(o.redisPort === undefined ? [] : [hosts.redis])];
  for (const host of used)
    checkExposure({ host, token: hasToken, tls: o.tls && { clientCa }, insecure: o.insecure });

  const watch = { runtime, log, everyMs: o.reloadMs ?? RELOAD_MS };
  const closers: (() => void)[] = [];
  const closeFiles = () => {
    for (const close of closers) close();
  };
  const tls = o.tls && (await watchTls(o.tls, watch));
  if (tls !== undefined) closers.push(tls.close);
  const own: TokenGrant[] = o.token === undefined ? [] : [{ identity: 'token', sha256: hashToken(o.token) }];
  const access = createAccess({
    anonymous: !hasToken && clientCa === undefined,
    tokens: own,
    certificates,
  });
  if (o.tokenFile !== undefined) {
    const replace = (tokens: readonly TokenGrant[]) => access.replaceTokens([...own, ...tokens]);
    const file = await watchTokens(o.tokenFile, watch, replace).catch((error: unknown) => {
      closeFiles();
      throw error;
    });
    closers.push(file.close);
    replace(file.current());
  }
  const early = o.earlyProbes
    ? await startEarlyProbes({ host: hosts.http, port: o.httpPort, tls })
    : undefined;

  return {
    async open(fabric) {
      await early?.close();
      const metrics = createMetrics(fabric, { certificateEndsMs: tls && (() => endOf(tls)) });
      const common = { fabric, access, log, metrics, runtime, tls };
      const opened: Listener[] = [];
      const add = async (listener: Promise<Listener>): Promise<Listener> => {
        const started = await listener;
        opened.push(started);
        return started;
      };
      const close = async (graceMs: number) => {
        await Promise.all(opened.map((listener) => listener.close(graceMs)));
        closeFiles();
      };
      try {
        const { allowedHosts = [], redisPort } = o;
        const grpc = await add(startGrpc({ ...common, host: hosts.grpc, port: o.grpcPort }));
        const httpPort = early?.port ?? o.httpPort;
        const http = await add(startHttp({ ...common, host: hosts.http, port: httpPort, allowedHosts }));
        const redisOptions = { ...common, host: hosts.redis, version };
        const redis =
          redisPort === undefined ? undefined : await add(startRedis({ ...redisOptions, port: redisPort }));
        return { grpc, http, redis, close };
      } catch (error) {
        await close(0);
        throw error;
      }
    },
    async close() {
      closeFiles();
      await early?.close();
    },
  };
}

const endOf = ({ current }: LiveTls): number => Date.parse(new X509Certificate(current.cert).validTo);
