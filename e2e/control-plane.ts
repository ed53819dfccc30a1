// A real Kubernetes control plane as child processes: etcd, API server, and on demand controller manager and
// scheduler. No node: objects are stored, checked, watched and reconciled, pods stay Pending.
//   1. Every instance has its own folder, certificates and ports; any number may run side by side.
//   2. Nothing outlives `stop`, nor the process that started it.
//   3. The API server keeps its address, its certificates and its data across restarts.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBinaries } from './build/cache.ts';
import { type Api, apiOf } from './parts/api.ts';
import {
  apiServerFlags,
  controllerFlags,
  etcdFlags,
  type Files,
  type Place,
  schedulerFlags,
} from './parts/flags.ts';
import { createPki, type Pki, writeKubeconfig } from './parts/pki.ts';
import { freePorts } from './parts/ports.ts';
import { ProcessEnded, type Running, start, until } from './parts/process.ts';

export interface ControlPlaneOptions {
  /** Default: a new folder that `stop` removes. */
  readonly dir?: string;
  /** Service accounts, namespaces that go away, garbage collection, workloads, HPA. */
  readonly controllers?: boolean;
  readonly scheduler?: boolean;
  /** Default `Metadata`: who did what to which object. */
  readonly audit?: 'Metadata' | 'RequestResponse';
  /** How often old revisions go, `1s` for instance; default: never on its own (see `forgetHistory`). */
  readonly compactionInterval?: string;
  readonly apiServerFlags?: readonly string[];
  readonly controllerFlags?: readonly string[];
  /** For pods and nodes to reach it; default: loopback only. */
  readonly place?: Place;
  readonly log?: (line: string) => void;
}

export interface ControlPlane {
  readonly dir: string;
  readonly pki: Pki;
  /** https://host:port */
  readonly url: string;
  /** Path of a kubeconfig that may do anything. */
  readonly kubeconfig: string;
  /** As this very kubeconfig, without a client library. */
  readonly api: Api;
  readonly auditLog: string;
  readonly apiServer: Running;
  readonly processes: readonly Running[];
  /** Path of a kubeconfig for somebody else: RBAC decides what it may. */
  kubeconfigFor(user: string, groups?: readonly string[]): Promise<string>;
  auditEvents(): AuditEvent[];
  /**
   * Pages and watches that go on from before are answered with 410: compacts etcd and restarts its server,
   * which remembers recent changes by itself.
   */
  forgetHistory(): Promise<void>;
  stopApiServer(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  startApiServer(): Promise<void>;
  restartApiServer(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Kills all of it; removes the folder if it was ours to make. */
  stop(): Promise<void>;
}

export interface AuditEvent {
  readonly stage: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string; readonly groups?: string[] };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly resource: string;
    readonly namespace?: string;
    readonly name?: string;
    readonly subresource?: string;
    readonly apiGroup?: string;
  };
  readonly responseStatus?: { readonly code: number };
  readonly requestObject?: unknown;
  readonly responseObject?: unknown;
  readonly stageTimestamp: string;
}

const ATTEMPTS = 3;
const GRACE_MS = 10_000;

export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      // Somebody took the port between our look and the server's start.
      const taken = error instanceof ProcessEnded && error.log.includes('address already in use');
      if (!taken || attempt === ATTEMPTS) throw error;
    }
  }
}

/** A new folder that goes when this process does, even if it is killed. */
function freshFolder(): { dir: string; remove(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'flowmesh-control-plane-'));
  // Its input ends with us. The servers end then as well, and may still be writing.
  const script = 'cat >/dev/null; while [ -e "$1" ]; do rm -rf "$1" && break; sleep 0.1; done';
  const stdio = ['pipe', 'ignore', 'ignore'] as const;
  const janitor = spawn('sh', ['-c', script, 'janitor', dir], { stdio: [...stdio], detached: true });
  janitor.unref();
  (janitor.stdin as Socket | null)?.unref();
  return {
    dir,
    remove() {
      rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
      janitor.stdin?.end();
    },
  };
}

async function startOnce(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { place = {}, log = () => {}, controllers = false, scheduler = false } = options;
  const binary = (await ensureBinaries(['control-plane'], log))('control-plane');
  const { dir, remove } = options.dir === undefined ? freshFolder() : { dir: options.dir, remove() {} };
  mkdirSync(join(dir, 'logs'), { recursive: true });
  const launch = (name: string, flags: readonly string[]) =>
    start({ name, command: [binary, name, ...flags], logFile: join(dir, 'logs', `${name}.log`) });
  const running: Running[] = [];
  const stopAll = async () => {
    await Promise.all(running.splice(0).map((each) => each.stop()));
    remove();
  };
  try {
    const [etcdPort = 0, port = 0] = await freePorts(2);
    const pki = await createPki(join(dir, 'pki'));
    const url = `https://${place.advertise ?? '127.0.0.1'}:${port}`;
    const files = await writeFiles(dir, url, pki, options);
    const etcdUrl = `http://127.0.0.1:${etcdPort}`;
    const etcd = launch('etcd', etcdFlags(dir, etcdUrl));
    running.push(etcd);
    const api = apiOf(files.admin);
    const startApiServer = async () => {
      const flags = apiServerFlags({
        etcdUrl,
        port,
        files,
        place,
        pki,
        compaction: options.compactionInterval,
      });
      const apiServer = launch('kube-apiserver', [...flags, ...(options.apiServerFlags ?? [])]);
      running.push(apiServer);
      const ready = async () => (await api('GET', '/readyz')).status === 200;
      await until('the API server', ready, { processes: [etcd, apiServer] });
    };
    const apiServerOf = () => {
      const found = running.find(({ name }) => name === 'kube-apiserver');
      if (found === undefined) throw new Error('the API server is stopped');
      return found;
    };
    const stopApiServer = async (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM') => {
      const apiServer = apiServerOf();
      running.splice(running.indexOf(apiServer), 1);
      await apiServer.stop(signal === 'SIGTERM' ? GRACE_MS : 0);
    };
    await startApiServer();
    if (scheduler) running.push(launch('kube-scheduler', schedulerFlags(files)));
    if (controllers) {
      running.push(
        launch('kube-controller-manager', [
          ...controllerFlags(files, pki),
          ...(options.controllerFlags ?? []),
        ]),
      );
      const account = '/api/v1/namespaces/default/serviceaccounts/default';
      const works = async () => (await api('GET', account)).status === 200;
      await until('the controller manager', works, { processes: running });
    }
    return {
      dir,
      pki,
      url,
      kubeconfig: files.admin,
      api,
      auditLog: files.auditLog,
      get apiServer() {
        return apiServerOf();
      },
      processes: running,
      kubeconfigFor: async (user, groups = []) => {
        const leaf = await pki.client(user, groups);
        return writeKubeconfig(leaf.cert.replace(/crt$/, 'kubeconfig'), url, pki, leaf);
      },
      auditEvents: () => readAudit(files.auditLog),
      async forgetHistory() {
        await compact(etcdUrl);
        await stopApiServer('SIGKILL');
        await startApiServer();
      },
      stopApiServer,
      startApiServer,
      async restartApiServer(signal = 'SIGTERM') {
        await stopApiServer(signal);
        await startApiServer();
      },
      async stop() {
        api.close();
        await stopAll();
      },
    };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

async function writeFiles(dir: string, url: string, pki: Pki, options: ControlPlaneOptions): Promise<Files> {
  const names = ['DNS:localhost', 'DNS:kubernetes.default.svc', 'IP:127.0.0.1', 'IP:10.96.0.1'];
  const { advertise } = options.place ?? {};
  const [server, proxyClient, kubeletClient, admin, manager, scheduler] = await Promise.all([
    pki.server('kube-apiserver', advertise === undefined ? names : [...names, `IP:${advertise}`]),
    pki.client('front-proxy-client'),
    pki.client('kubelet-client', ['system:masters']),
    pki.client('admin', ['system:masters']),
    pki.client('system:kube-controller-manager'),
    pki.client('system:kube-scheduler'),
  ]);
  const auditPolicy = join(dir, 'audit-policy.json');
  const rules = [{ level: options.audit ?? 'Metadata' }];
  const policy = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived'], rules };
  writeFileSync(auditPolicy, JSON.stringify(policy));
  return {
    ...{ server, proxyClient, kubeletClient, auditPolicy },
    auditLog: join(dir, 'logs', 'audit.log'),
    admin: writeKubeconfig(join(dir, 'kubeconfig'), url, pki, admin),
    manager: writeKubeconfig(join(dir, 'manager.kubeconfig'), url, pki, manager),
    scheduler: writeKubeconfig(join(dir, 'scheduler.kubeconfig'), url, pki, scheduler),
  };
}

function readAudit(path: string): AuditEvent[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  // The last one may be on its way.
  return lines.slice(0, -1).map((line) => JSON.parse(line));
}

async function compact(etcdUrl: string): Promise<void> {
  const call = async (path: string, body: unknown) => {
    const response = await fetch(`${etcdUrl}/v3/kv/${path}`, { method: 'POST', body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`etcd ${path}: ${await response.text()}`);
    return (await response.json()) as { header: { revision: string } };
  };
  // A compaction keeps the revision it names: with a newer one, also the last that anybody saw is gone.
  const { header } = await call('put', { key: Buffer.from('forgotten').toString('base64') });
  await call('compaction', { revision: header.revision, physical: true });
}
