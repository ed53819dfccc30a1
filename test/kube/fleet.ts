// A control plane, data planes on loopback, and the operator between them: what the specs of queues,
// streams and schemas stand on.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Api, connect } from '../../cli/client.ts';
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from '../../e2e/control-plane.ts';
import { until } from '../../e2e/parts/process.ts';
import type { QueueObject } from '../../operator/controllers/queue/kind.ts';
import type { SchemaObject } from '../../operator/controllers/schema/kind.ts';
import type { StreamObject } from '../../operator/controllers/stream/kind.ts';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { installDefinitions, PLURALS } from './definitions.ts';
import type { Options } from './operator-process.ts';

export type Kind = keyof typeof PLURALS;
export type AnyObject = QueueObject | SchemaObject | StreamObject;

export interface Operator {
  readonly child: ChildProcess;
  memory(): Promise<NodeJS.MemoryUsage>;
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export interface DataPlane extends ServerProcess {
  readonly api: Api;
}

const SCRIPT = fileURLToPath(new URL('./operator-process.ts', import.meta.url));

export class Fleet {
  readonly plane: ControlPlane;
  readonly #endpoints = new Map<string, string>();
  readonly #file: string;
  readonly #children: { kill(signal: 'SIGKILL'): Promise<void> }[] = [];

  private constructor(plane: ControlPlane) {
    this.plane = plane;
    this.#file = join(plane.dir, 'endpoints.json');
    this.#write();
  }

  static async start(options: ControlPlaneOptions = {}): Promise<Fleet> {
    const plane = await startControlPlane(options);
    await installDefinitions(plane);
    return new Fleet(plane);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill('SIGKILL')));
    await this.plane.stop();
  }

  /** A data plane process that serves the cluster, where the operator finds it. */
  async dataPlane(
    cluster: string,
    options: { dataDir?: string; grpcPort?: number } = {},
  ): Promise<DataPlane> {
    const server = await startServerProcess({ autoCreate: false, ...options });
    this.#children.push(server);
    this.#endpoints.set(cluster, server.address);
    this.#write();
    return { ...server, api: await connect({ address: server.address, token: undefined }) };
  }

  /** Where the operator looks for it; unset: nowhere. */
  setAddress(cluster: string, address: string | undefined): void {
    if (address === undefined) this.#endpoints.delete(cluster);
    else this.#endpoints.set(cluster, address);
    this.#write();
  }

  async operator(options: Omit<Options, 'endpoints'> = {}, flags: readonly string[] = []): Promise<Operator> {
    const always = [
      '--kubeconfig',
      this.plane.kubeconfig,
      '--metrics-address',
      'off',
      '--probe-address',
      'off',
    ];
    const more = ['--lease-namespace', 'default', '--log-level', process.env['OPERATOR_LOG'] ?? 'silent'];
    const own = JSON.stringify({ endpoints: this.#file, ...options });
    const child = spawn(
      process.execPath,
      ['--conditions=flowmesh-source', SCRIPT, own, ...always, ...more, ...flags],
      {
        stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      },
    );
    const operator: Operator = {
      child,
      async memory() {
        child.send('memory');
        const [usage] = await once(child, 'message');
        return usage as NodeJS.MemoryUsage;
      },
      async kill(signal) {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill(signal);
        await once(child, 'exit');
      },
    };
    this.#children.push(operator);
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the operator ended: ${code}`)));
      child.stdout?.on('data', (text: Buffer) => {
        if (process.env['OPERATOR_LOG']) process.stderr.write(text);
        if (text.toString().includes('leading\n')) resolve();
      });
    });
    return operator;
  }

  path(kind: Kind, namespace: string, name = ''): string {
    return `/apis/flowmesh.io/v1alpha1/namespaces/${namespace}/${PLURALS[kind]}${name && `/${name}`}`;
  }

  /** `at` is namespace/name. */
  async create(kind: Kind, at: string, spec: object = {}): Promise<void> {
    const [namespace = '', name = ''] = at.split('/');
    const object = { apiVersion: 'flowmesh.io/v1alpha1', kind, metadata: { name, namespace }, spec };
    const { status, body } = await this.plane.api('POST', this.path(kind, namespace), object);
    if (status !== 201) throw new Error(`${kind} ${at}: ${body.message}`);
  }

  async patch(kind: Kind, at: string, change: object): Promise<void> {
    const [namespace = '', name] = at.split('/');
    const type = 'application/merge-patch+json';
    const { status, body } = await this.plane.api('PATCH', this.path(kind, namespace, name), change, type);
    if (status !== 200) throw new Error(`${kind} ${at}: ${body.message}`);
  }

  async get<T extends AnyObject = QueueObject>(kind: Kind, at: string): Promise<T | undefined> {
    const [namespace = '', name] = at.split('/');
    const { status, body } = await this.plane.api('GET', this.path(kind, namespace, name));
    return status === 200 ? (body as unknown as T) : undefined;
  }

  async delete(kind: Kind, at: string): Promise<void> {
    const [namespace = '', name] = at.split('/');
    await this.plane.api('DELETE', this.path(kind, namespace, name));
  }

  async namespace(name: string, labels: Record<string, string> = {}): Promise<void> {
    await this.plane.api('POST', '/api/v1/namespaces', { metadata: { name, labels } });
  }

  gone(kind: Kind, at: string, timeoutMs = 30_000): Promise<void> {
    return until(`${kind} ${at} is gone`, async () => (await this.get(kind, at)) === undefined, {
      timeoutMs,
    });
  }

  /** Waits for `Type=Status` or `Type=Status/Reason` of the present generation; answers the object. */
  async condition<T extends AnyObject = QueueObject>(
    kind: Kind,
    at: string,
    wanted: string,
    timeoutMs = 30_000,
  ): Promise<T> {
    let last: T | undefined;
    const holds = async () => {
      last = await this.get<T>(kind, at);
      const { conditions = [] } = last?.status ?? {};
      return conditions.some(
        ({ type, status, reason, observedGeneration }) =>
          observedGeneration === last?.metadata.generation &&
          [`${type}=${status}`, `${type}=${status}/${reason}`].includes(wanted),
      );
    };
    await until(`${kind} ${at} ${wanted}`, holds, { timeoutMs }).catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify(last?.status?.conditions, null, 1)}`);
    });
    return last as T;
  }

  /** Reasons of the events about an object, each once. */
  async events(name: string): Promise<string[]> {
    const { body } = await this.plane.api('GET', '/apis/events.k8s.io/v1/events');
    const items = (body['items'] ?? []) as { reason: string; regarding: { name: string } }[];
    return [...new Set(items.filter(({ regarding }) => regarding.name === name).map(({ reason }) => reason))];
  }

  #write(): void {
    writeFileSync(this.#file, JSON.stringify(Object.fromEntries(this.#endpoints)));
  }
}
