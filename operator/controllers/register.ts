// All controllers of the operator, and what they share: the data planes, and the Secrets of clusters.
import type { Engine } from '../../crds/notices.ts';
import type { ControllerHost } from '../kube/host.ts';
import type { Informer } from '../kube/informer.ts';
import type { Resource } from '../kube/objects.ts';
import type { KeySource } from '../resources/certificates.ts';
import { clusterController, clusterDefaults } from './cluster/controller.ts';
import { CERTIFICATES, SECRETS, type Secret } from './cluster/kinds.ts';
import { idOf } from './cluster/world.ts';
import { dataPlanes, declaredControllers } from './declared/controller.ts';
import { AdviceDesk } from './scaling/advice.ts';
import { scalingControllers } from './scaling/controller.ts';
import { figuresOf } from './scaling/figures.ts';

export interface ControllersOptions {
  readonly told: Parameters<typeof clusterDefaults>[0];
  readonly keys: KeySource;
  /** Journals that the data plane starts with. */
  readonly engines?: readonly Engine[];
  /** Of our own external metrics; undefined: they are not served. */
  readonly metricsService?: { readonly name: string; readonly namespace: string } | undefined;
}

export interface Registered {
  /** For whoever serves metrics to autoscalers. */
  readonly figures: ReturnType<typeof figuresOf>;
}

export function registerControllers(
  host: ControllerHost,
  { told, keys, engines, metricsService }: ControllersOptions,
): Registered {
  const planes = dataPlanes(host);
  const defaults = clusterDefaults(told);
  const owned = clusterController(host, { defaults, keys, planes, ...(engines && { engines }) });
  const declared = declaredControllers(host, { planes });
  const advice = new AdviceDesk(planes, host.runtime.monotonicMs);
  scalingControllers(host, {
    ...declared,
    ...{ defaults, keys, advice, metricsService },
    secrets: owned.get(idOf(SECRETS as Resource)) as unknown as Informer<Secret>,
    certificates: owned.get(idOf(CERTIFICATES)),
  });
  return { figures: figuresOf({ ...declared, advice }) };
}
