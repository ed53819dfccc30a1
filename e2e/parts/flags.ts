// The command lines of a control plane.

import { join } from 'node:path';
import type { Leaf, Pki } from './pki.ts';

/** Where pods and nodes find the API server. */
export interface Place {
  /** An address of this machine or network namespace that they reach. */
  readonly advertise?: string;
}

/** Paths of what the processes read and write. */
export interface Files {
  readonly server: Leaf;
  readonly proxyClient: Leaf;
  readonly kubeletClient: Leaf;
  readonly auditPolicy: string;
  readonly auditLog: string;
  readonly admin: string;
  readonly manager: string;
  readonly scheduler: string;
}

export const SERVICE_CIDR = '10.96.0.0/16';

export function etcdFlags(dir: string, url: string): string[] {
  return [
    `--data-dir=${join(dir, 'etcd')}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    '--listen-peer-urls=http://127.0.0.1:0',
    // The data ends with the test.
    '--unsafe-no-fsync',
    '--log-level=warn',
  ];
}

export interface ApiServer {
  readonly etcdUrl: string;
  readonly port: number;
  readonly files: Files;
  readonly place: Place;
  readonly pki: Pki;
  readonly compaction: string | undefined;
}

export function apiServerFlags({ etcdUrl, port, files, place, pki, compaction = '0' }: ApiServer): string[] {
  const { advertise } = place;
  return [
    `--etcd-servers=${etcdUrl}`,
    `--etcd-compaction-interval=${compaction}`,
    `--bind-address=${advertise === undefined ? '127.0.0.1' : '0.0.0.0'}`,
    `--secure-port=${port}`,
    advertise === undefined ? '--endpoint-reconciler-type=none' : `--advertise-address=${advertise}`,
    `--tls-cert-file=${files.server.cert}`,
    `--tls-private-key-file=${files.server.key}`,
    `--client-ca-file=${pki.caFile}`,
    `--service-cluster-ip-range=${SERVICE_CIDR}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${pki.serviceAccounts.pub}`,
    `--service-account-signing-key-file=${pki.serviceAccounts.key}`,
    '--authorization-mode=Node,RBAC',
    '--enable-aggregator-routing=true',
    '--allow-privileged=true',
    `--requestheader-client-ca-file=${pki.caFile}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    `--proxy-client-cert-file=${files.proxyClient.cert}`,
    `--proxy-client-key-file=${files.proxyClient.key}`,
    `--kubelet-client-certificate=${files.kubeletClient.cert}`,
    `--kubelet-client-key=${files.kubeletClient.key}`,
    '--kubelet-preferred-address-types=InternalIP',
    `--audit-policy-file=${files.auditPolicy}`,
    `--audit-log-path=${files.auditLog}`,
  ];
}

export function controllerFlags(files: Files, pki: Pki): string[] {
  return [
    `--kubeconfig=${files.manager}`,
    `--authentication-kubeconfig=${files.manager}`,
    `--authorization-kubeconfig=${files.manager}`,
    '--leader-elect=false',
    '--secure-port=0',
    '--use-service-account-credentials',
    `--service-account-private-key-file=${pki.serviceAccounts.key}`,
    `--root-ca-file=${pki.caFile}`,
    `--cluster-signing-cert-file=${pki.caFile}`,
    `--cluster-signing-key-file=${pki.caKeyFile}`,
    '--horizontal-pod-autoscaler-sync-period=2s',
  ];
}

export function schedulerFlags(files: Files): string[] {
  const config = files.scheduler;
  return [
    `--kubeconfig=${config}`,
    `--authentication-kubeconfig=${config}`,
    `--authorization-kubeconfig=${config}`,
    '--leader-elect=false',
    '--secure-port=0',
  ];
}
