// Runs inside the cluster's namespaces (see init.sh): starts every process of a cluster of one node, reports,
// and watches over them until it is killed. usage: cluster.ts DIR
//   1. What it has to say goes to standard output, a line of JSON each: {"log"}, {"stage","ms"}, {"up"} or
//      {"failed"}.
//   2. A process that ends ends the cluster, with the end of its log.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBinaries } from '../build/cache.ts';
import { type ControlPlane, startControlPlane } from '../control-plane.ts';
import { ProcessEnded, type Running, start, until } from '../parts/process.ts';
import { containerdConfig, dnsConfig, kubeletConfig, NODE, NODE_IP, proxyConfig } from './configs.ts';
import { createStorageClass, startProvisioner } from './provisioner.ts';

const WATCH_EVERY_MS = 500;
const [dir = ''] = process.argv.slice(2);
const say = (message: Record<string, unknown>) => process.stdout.write(`${JSON.stringify(message)}\n`);
const log = (line: string) => say({ log: line });
const nodeDir = join(dir, 'node');
const logs = join(dir, 'plane', 'logs');
const socket = join(dir, 'containerd.sock');

async function stage<T>(name: string, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  say({ stage: name, ms: Math.round(performance.now() - startedMs) });
  return result;
}

const binary = await ensureBinaries(['node', 'coredns', 'containerd', 'runc', 'cni', 'nft'], log);
const folders = (['containerd', 'nft'] as const).map((part) => join(binary(part), '..'));
const PATH = [...folders, process.env['PATH']].join(':');
const launch = (name: string, command: readonly string[]): Running =>
  start({ name, command, logFile: join(logs, `${name}.log`), env: { PATH } });

function startContainerd(): Running {
  mkdirSync(nodeDir, { recursive: true });
  mkdirSync(logs, { recursive: true });
  const paths = { runc: binary('runc'), cni: join(binary('cni'), '..'), socket, images: join(dir, 'images') };
  return launch('containerd', [binary('containerd'), '--config', containerdConfig(nodeDir, paths)]);
}

async function startNode(plane: ControlPlane): Promise<Running[]> {
  const { cert, key } = await plane.pki.server(NODE, [`DNS:${NODE}`, `IP:${NODE_IP}`]);
  const config = kubeletConfig(nodeDir, { caFile: plane.pki.caFile, cert, key, socket });
  const kubeconfig = await plane.kubeconfigFor(`system:node:${NODE}`, ['system:nodes']);
  const flags = [`--config=${config}`, `--kubeconfig=${kubeconfig}`, `--hostname-override=${NODE}`];
  const kubelet = [
    binary('node'),
    'kubelet',
    ...flags,
    `--node-ip=${NODE_IP}`,
    `--root-dir=${join(nodeDir, 'kubelet')}`,
  ];
  const proxy = proxyConfig(nodeDir, await plane.kubeconfigFor('system:kube-proxy'));
  const dns = dnsConfig(nodeDir, await plane.kubeconfigFor('coredns', ['system:masters']));
  return [
    launch('kubelet', kubelet),
    launch('kube-proxy', [binary('node'), 'kube-proxy', `--config=${proxy}`]),
    launch('coredns', [binary('coredns'), '-conf', dns]),
  ];
}

async function nodeIsReady({ api }: ControlPlane): Promise<boolean> {
  const { status, body } = await api('GET', `/api/v1/nodes/${NODE}`);
  if (status !== 200) return false;
  const conditions: { type: string; status: string }[] = body.status.conditions ?? [];
  const tainted = (body.spec.taints ?? []).length > 0;
  return !tainted && conditions.some((each) => each.type === 'Ready' && each.status === 'True');
}

try {
  const containerd = startContainerd();
  const plane = await stage('control plane', () =>
    startControlPlane({
      dir: join(dir, 'plane'),
      controllers: true,
      scheduler: true,
      // A test waits for it; by itself, a quarter of a minute.
      controllerFlags: ['--horizontal-pod-autoscaler-sync-period=2s'],
      place: { advertise: NODE_IP },
      log,
    }),
  );
  const processes = [containerd, ...plane.processes];
  await stage('node', async () => {
    processes.push(...(await startNode(plane)));
    await createStorageClass(plane.api);
    startProvisioner(plane.api, join(dir, 'volumes'), log);
    await until('the node', () => nodeIsReady(plane), { processes });
  });
  say({ up: { kubeconfig: plane.kubeconfig, auditLog: plane.auditLog, socket } });
  while (true) {
    for (const each of processes) if (each.ended() !== undefined) throw new ProcessEnded(each);
    await new Promise((resolve) => setTimeout(resolve, WATCH_EVERY_MS));
  }
} catch (error) {
  say({ failed: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
process.exit();
