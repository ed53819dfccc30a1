// What a cluster is made of, which versions, and how each part comes about.
//   1. One Go module per upstream: their dependency graphs disagree, so they are never merged.
//   2. A change of a recipe or of any file in its folder is another binary.

export type Part =
  | 'control-plane'
  | 'node'
  | 'kubectl'
  | 'coredns'
  | 'containerd'
  | 'pause'
  | 'runc'
  | 'cni'
  | 'nft'
  | 'helm'
  | 'keda';

export type Recipe = { readonly version: string; readonly files: readonly string[] } & (
  | {
      readonly how: 'go';
      readonly module: string;
      readonly packages: readonly string[];
      readonly ldflags: string;
      /** A folder of its sources that is wanted, too: `config` of github.com/... */
      readonly sources?: { readonly of: string; readonly folder: string };
    }
  | {
      readonly how: 'debian';
      readonly package: string;
      /** Packages of libraries that a machine may lack. */
      readonly libraries: readonly string[];
      readonly from: string;
    }
);

export const KUBERNETES = 'v1.37.2';
const CONTAINERD = 'v2.4.2';
const STRIP = '-s -w';
// Without it server and node report a placeholder, and version checks of clients and charts misread that.
const versioned = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version']
  .map((path) => `-X ${path}.gitVersion=${KUBERNETES}`)
  .join(' ');
const kubernetes = {
  version: KUBERNETES,
  how: 'go',
  module: 'kubernetes',
  ldflags: `${STRIP} ${versioned}`,
} as const;
const containerd = 'github.com/containerd/containerd/v2';
const HELM = 'v4.3.1';
const helm = 'helm.sh/helm/v4';
const KEDA = 'v2.21.0';
const keda = 'github.com/kedacore/keda/v2';

export const catalog: Readonly<Record<Part, Recipe>> = {
  'control-plane': { ...kubernetes, packages: ['./control-plane'], files: ['control-plane'] },
  node: { ...kubernetes, packages: ['./node'], files: ['node'] },
  kubectl: { ...kubernetes, packages: ['./kubectl'], files: ['kubectl'] },
  coredns: {
    version: 'v1.15.0',
    how: 'go',
    module: 'coredns',
    packages: ['.'],
    ldflags: STRIP,
    files: ['coredns'],
  },
  containerd: {
    version: CONTAINERD,
    how: 'go',
    module: 'containerd',
    packages: ['containerd', 'containerd-shim-runc-v2', 'ctr'].map((name) => `${containerd}/cmd/${name}`),
    ldflags: `${STRIP} -X ${containerd}/version.Version=${CONTAINERD}`,
    files: ['containerd', 'containerd-shim-runc-v2', 'ctr'],
  },
  helm: {
    version: HELM,
    how: 'go',
    module: 'helm',
    packages: [`${helm}/cmd/helm`],
    ldflags: `${STRIP} -X ${helm}/internal/version.version=${HELM}`,
    files: ['helm'],
  },
  pause: { version: '1', how: 'go', module: 'pause', packages: ['.'], ldflags: STRIP, files: ['pause'] },
  runc: {
    version: 'debian',
    how: 'debian',
    package: 'runc',
    libraries: [],
    from: 'usr/sbin',
    files: ['runc'],
  },
  cni: {
    version: 'debian',
    how: 'debian',
    package: 'containernetworking-plugins',
    libraries: [],
    from: 'usr/lib/cni',
    files: ['bridge', 'host-local', 'loopback', 'portmap'],
  },
  // How kube-proxy writes its rules.
  nft: {
    version: 'debian',
    how: 'debian',
    package: 'nftables',
    libraries: ['libnftables1', 'libnftnl11', 'libmnl0', 'libjansson4', 'libedit2', 'libxtables12'],
    from: 'usr/sbin',
    files: ['nft'],
  },
  // Last: it takes as long as a node, and only the specs of scaling need it.
  keda: {
    version: KEDA,
    how: 'go',
    module: 'keda',
    packages: ['operator', 'adapter'].map((name) => `${keda}/cmd/${name}`),
    ldflags: `${STRIP} -X ${keda}/version.Version=${KEDA.slice(1)}`,
    sources: { of: keda, folder: 'config' },
    files: ['operator', 'adapter', 'config'],
  },
};

export const parts = Object.keys(catalog) as Part[];
