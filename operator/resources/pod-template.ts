// The pod as it is: ours, with `podTemplate` merged in. What the owner of the cluster wrote and did not get
// is told, never silently dropped.
//   T1. The result depends on the spec alone and not on the order of its fields, so it can be compared.
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import type { Json } from '../../crds/types.ts';
import { canonical, hashOf } from './canonical.ts';
import type { ResolvedCluster } from './cluster.ts';
import { type Mapping, merge } from './merge.ts';
import { CONTAINER } from './names.ts';
import type { Wire } from './objects.ts';
import { basePodTemplate } from './pod.ts';
import { mapping, mappings, secureTemplate } from './pod-safety.ts';
import { checkPodTemplate } from './pod-template-check.ts';

export interface PodTemplateResult {
  readonly template: Wire<V1PodTemplateSpec>;
  /** Parts of `podTemplate` that we do not allow, and why. The cluster works without them. */
  readonly warnings: readonly string[];
  /** Parts of `podTemplate` that are mistakes. They are left out here; better wait for a cure. */
  readonly problems: readonly string[];
}

const WARNINGS_MAX = 50;

export function podTemplate(cluster: ResolvedCluster): PodTemplateResult {
  const { template: patch, problems } = checkPodTemplate(cluster.podTemplate);
  const base = canonical(basePodTemplate(cluster)) as unknown as Mapping;
  const warnings: string[] = [];
  const secured = secureTemplate(canonical(merge(base, patch)), base, (path, reason) => {
    if (warnings.length < WARNINGS_MAX) warnings.push(`podTemplate.${path} is not taken over: ${reason}`);
  });
  const template = canonical(withResources(secured, patch, cluster));
  return { template: template as unknown as Wire<V1PodTemplateSpec>, warnings, problems };
}

/** All or nothing: half of ours with half of theirs could ask for more than the limit. */
function withResources(template: Mapping, patch: Mapping, { resources }: ResolvedCluster): Mapping {
  const isOurs = (container: Mapping) => container['name'] === CONTAINER;
  const given = mappings(mapping(patch['spec'])['containers']).find(isOurs);
  if (given !== undefined && Object.hasOwn(given, 'resources')) return template;
  const spec = mapping(template['spec']);
  const containers = mappings(spec['containers']).map(
    (container): Json =>
      isOurs(container) ? { ...container, resources: { ...resources } as Mapping } : container,
  );
  return { ...template, spec: { ...spec, containers } };
}

/** Equal exactly if running pods need no restart. */
export function podTemplateHash(template: Wire<V1PodTemplateSpec>): string {
  return hashOf(template);
}
