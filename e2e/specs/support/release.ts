// The chart as Helm installs it, for the namespaces of a spec.
import { chartDir, helmOf } from '../../../scripts/chart.ts';
import { IMAGE } from './data-plane.ts';
import type { Namespace } from './kubectl.ts';

export interface Release {
  install(...values: string[]): void;
  upgrade(...values: string[]): void;
  uninstall(): void;
  /** Takes out what is there, also what is not of a namespace: the next spec may install in another one. */
  remove(): void;
  /** The pod that leads. */
  leader(): Promise<string>;
}

const NAME = 'flowmesh';
const WAIT = ['--wait', '--timeout', '120s'];

/** Its operator runs in `system` and looks after `spaces`. */
export async function releaseIn(system: Namespace, spaces: readonly Namespace[]): Promise<Release> {
  const helm = await helmOf();
  const [, repository = '', tag = ''] = /^(.*):([^:/]+)$/.exec(IMAGE) ?? [];
  const run = (verb: 'install' | 'upgrade', values: readonly string[]) => {
    const names = spaces.map(({ name }) => name).join(',');
    const settings = [
      `image.repository=${repository}`,
      `image.tag=${tag}`,
      `namespaces={${names}}`,
      ...values,
    ];
    // Definitions of an earlier release are there for good; whoever installs again takes them over.
    const flags = ['--namespace', system.name, '--take-ownership', ...WAIT];
    helm(verb, NAME, chartDir, ...flags, ...settings.flatMap((each) => ['--set', each]));
  };
  return {
    install: (...values) => run('install', values),
    upgrade: (...values) => run('upgrade', values),
    uninstall: () => void helm('uninstall', NAME, '--namespace', system.name, ...WAIT),
    remove: () => void helm('uninstall', NAME, '--namespace', system.name, '--ignore-not-found', ...WAIT),
    async leader() {
      const { spec } = await system.get('lease', 'flowmesh-operator');
      return String(spec.holderIdentity ?? '').replace(/_.*/, '');
    },
  };
}
