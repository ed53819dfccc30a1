// The operator as its chart runs it: operator/bin.js, told by the environment, all addresses open; and a data
// plane behind TLS and a token that it finds in a binding Secret, as applications do.
//   1. The cluster is paused, as there is no node to run its pods: its Secret is ours, what is declared in it
//      is not.
//   2. Memory is what the kernel says of the process, the most that it ever was included.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ConnectOptions } from '@flowmesh/client';
import type { ControlPlane } from '../../e2e/control-plane.ts';
import { until } from '../../e2e/parts/process.ts';
import { PAUSED } from '../../operator/controllers/cluster/decide.ts';
import { namesOf } from '../../operator/resources/names.ts';
import { Authority } from '../api/issued.ts';
import { startServerProcess } from '../support/server-process.ts';
import { listPath } from './definitions.ts';

const PROGRAM = fileURLToPath(new URL('../../operator/bin.js', import.meta.url));
const SAID_MAX = 5_000;
/** A second, in /proc of any Linux. */
const CLOCK_TICKS = 100;
const TOKEN = 'a-token-of-the-test';

export interface Program {
  readonly child: ChildProcess;
  /** Throws once it has ended by itself, with its last words. */
  demandAlive(): void;
  /** MB of a million bytes. */
  memory(): { rssMb: number; peakMb: number };
  /** Seconds of processor so far. */
  processorSeconds(): number;
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** Resolves when it leads. `env` goes on top of what the chart sets. */
export async function startProgram(plane: ControlPlane, env: NodeJS.ProcessEnv = {}): Promise<Program> {
  const { PATH, HOME } = process.env;
  const child = spawn(process.execPath, ['--conditions=flowmesh-source', PROGRAM], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...{ PATH, HOME, KUBECONFIG: plane.kubeconfig, NODE_ENV: 'production' },
      // As a pod, it can write nowhere else.
      NODE_COMPILE_CACHE: join(plane.dir, 'compiled'),
      ...{ POD_NAME: 'operator', POD_NAMESPACE: 'default', FLOWMESH_OPERATOR_NAMESPACES: '' },
      FLOWMESH_OPERATOR_METRICS_ADDRESS: '127.0.0.1:0',
      FLOWMESH_OPERATOR_PROBE_ADDRESS: '127.0.0.1:0',
      ...env,
    },
  });
  const ended = once(child, 'exit');
  let said = '';
  let isLeading = false;
  child.stdout.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString()}`.slice(-SAID_MAX);
    isLeading ||= said.includes('leader.acquired');
  });
  const demandAlive = () => {
    if (child.exitCode !== null) throw new Error(`the operator ended with ${child.exitCode}: ${said}`);
  };
  await until('the operator leads', async () => isLeading);
  return {
    child,
    demandAlive,
    memory() {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      const mb = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1000;
      return { rssMb: mb('VmRSS'), peakMb: mb('VmHWM') };
    },
    processorSeconds() {
      // After the name of the program in brackets, user and system time are the 12th and the 13th field.
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
      return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
    },
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

export interface BoundPlane {
  /** How a client gets in. */
  readonly access: ConnectOptions;
  kill(): Promise<void>;
}

/** A FlowMeshCluster of that name in `default`, whose data plane runs on loopback. */
export async function startBoundPlane(plane: ControlPlane, name: string): Promise<BoundPlane> {
  const authority = new Authority('operator-program');
  const { cert, key } = authority.issue('data-plane');
  const [certFile, keyFile] = [join(plane.dir, 'data-plane.crt'), join(plane.dir, 'data-plane.key')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  const tls = { certFile, keyFile };
  const server = await startServerProcess({ autoCreate: false, token: TOKEN, tls });
  const address = `localhost:${server.grpcPort}`;
  const text = { FLOWMESH_ADDRESS: address, token: TOKEN, 'ca.crt': authority.cert };
  const data = Object.entries(text).map(([field, value]) => [field, Buffer.from(value).toString('base64')]);
  const make = async (path: string, object: object) => {
    const { status, body } = await plane.api('POST', path, object);
    if (status !== 201) throw new Error(`${path}: ${body.message}`);
  };
  await make('/api/v1/namespaces/default/secrets', {
    metadata: { name: namesOf(name).bindingSecret },
    data: Object.fromEntries(data),
  });
  await make(listPath('FlowMeshCluster'), {
    ...{ apiVersion: 'flowmesh.io/v1alpha1', kind: 'FlowMeshCluster', spec: {} },
    metadata: { name, annotations: { [PAUSED]: 'true' } },
  });
  return {
    access: { address, token: TOKEN, tls: { ca: authority.cert } },
    kill: () => server.kill('SIGKILL'),
  };
}
