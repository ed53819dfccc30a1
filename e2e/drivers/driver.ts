// What specs need of a cluster, whoever runs it.

export interface Driver {
  readonly name: 'local' | 'rootless' | 'kind';
  /** What this cluster cannot do, by label, and why not: such specs are skipped and say so. */
  readonly lacks: Readonly<Partial<Record<Label, string>>>;
  /** Answers the path of a kubeconfig. */
  up(): Promise<string>;
  loadImage(ociTar: string): Promise<void>;
  /** Runs a program that can reach the API server; answers its exit code. */
  run(command: readonly string[], env?: Record<string, string>): Promise<number>;
  /** Leaves nothing. Also after an `up` that failed; any number of times. */
  down(): Promise<void>;
}

/** What a spec needs beyond a control plane and processes in place of pods. */
export type Label =
  | 'needs:kubelet'
  | 'needs:pv'
  | 'needs:expansion'
  | 'needs:multinode'
  | 'needs:networkpolicy';

export interface Observer {
  /** A line for people: progress. */
  log(line: string): void;
  stage(name: string, ms: number): void;
}
