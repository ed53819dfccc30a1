// The configuration files of a node.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const NODE = 'n1';
export const NODE_IP = '10.0.0.1';
const POD_CIDR = '10.244.0.0/24';
const DOMAIN = 'cluster.local';

/** Absolute paths; JSON is YAML. */
const write = (path: string, value: unknown) => {
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value, null, 2));
  return path;
};

export interface KubeletFiles {
  readonly caFile: string;
  readonly cert: string;
  readonly key: string;
  readonly socket: string;
}

export function kubeletConfig(dir: string, { caFile, cert, key, socket }: KubeletFiles): string {
  return write(join(dir, 'kubelet.json'), {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    // This machine has version 1 of cgroups; by default the kubelet refuses it.
    failCgroupV1: false,
    cgroupDriver: 'cgroupfs',
    containerRuntimeEndpoint: `unix://${socket}`,
    authentication: {
      x509: { clientCAFile: caFile },
      anonymous: { enabled: false },
      webhook: { enabled: true },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: cert,
    tlsPrivateKeyFile: key,
    clusterDNS: [NODE_IP],
    clusterDomain: DOMAIN,
    resolvConf: write(join(dir, 'resolv.conf'), `nameserver ${NODE_IP}\n`),
    podLogsDir: join(dir, 'pod-logs'),
    volumePluginDir: join(dir, 'volume-plugins'),
    // The disk and the memory are shared with others, whose use says nothing about this node.
    evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    // A test waits for what the kubelet does.
    nodeStatusUpdateFrequency: '4s',
    syncFrequency: '10s',
  });
}

export interface ContainerdPaths {
  readonly runc: string;
  readonly cni: string;
  readonly socket: string;
  readonly images: string;
}

export function containerdConfig(dir: string, { runc, cni, socket, images }: ContainerdPaths): string {
  const confDir = join(dir, 'cni');
  mkdirSync(confDir, { recursive: true });
  write(join(confDir, '10-bridge.conflist'), cniConfig(dir));
  return write(
    join(dir, 'containerd.toml'),
    `version = 2
root = "${images}"
state = "/run/containerd"
[grpc]
  address = "${socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${cni}"
    conf_dir = "${confDir}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "${runc}"
        SystemdCgroup = false
`,
  );
}

export const PAUSE_IMAGE = 'e2e.local/pause:1';

function cniConfig(dir: string) {
  const ipam = { type: 'host-local', ranges: [[{ subnet: POD_CIDR }]], dataDir: join(dir, 'cni-addresses') };
  const bridge = {
    type: 'bridge',
    bridge: 'cni0',
    isDefaultGateway: true,
    hairpinMode: true,
    ipMasq: false,
    ipam,
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return { cniVersion: '1.0.0', name: 'e2e', plugins: [bridge, portmap] };
}

export function proxyConfig(dir: string, kubeconfig: string): string {
  return write(join(dir, 'kube-proxy.json'), {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig },
    mode: 'nftables',
    clusterCIDR: POD_CIDR,
    hostnameOverride: NODE,
    // These belong to the machine, not to the namespace.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  });
}

export function dnsConfig(dir: string, kubeconfig: string): string {
  return write(
    join(dir, 'Corefile'),
    `.:53 {
  bind ${NODE_IP}
  errors
  kubernetes ${DOMAIN} in-addr.arpa {
    kubeconfig ${kubeconfig}
    pods insecure
  }
}
`,
  );
}
