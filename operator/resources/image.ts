// Which image the pods run: what the manifest leaves open comes from the image of the operator's version.
import type { FlowMeshClusterSpec } from '../../crds/types.ts';

export interface ResolvedImage {
  /** In full, as a node pulls it. */
  readonly reference: string;
  /** Unset where there is no tag, or it is no legal label. */
  readonly version: string | undefined;
  readonly pullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly pullSecrets: readonly string[];
}

export function resolveImage(spec: FlowMeshClusterSpec['image'], byDefault: string): ResolvedImage {
  const own = parseImage(byDefault);
  const isPinned = spec?.tag !== undefined || spec?.digest !== undefined;
  const { tag, digest } = isPinned ? spec : own;
  const repository = spec?.repository ?? own.repository;
  return {
    reference: [repository, tag && `:${tag}`, digest && `@${digest}`].join(''),
    version: tag !== undefined && /^[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?$/.test(tag) ? tag : undefined,
    pullPolicy: spec?.pullPolicy ?? 'IfNotPresent',
    pullSecrets: spec?.pullSecrets ?? [],
  };
}

/** The part behind the last colon is a tag only if it holds no slash: the other colon is that of a port. */
function parseImage(reference: string): { repository: string; tag?: string; digest?: string } {
  const [named = '', digest] = reference.split('@', 2);
  const [, repository = named, tag] = /^(.*?)(?::([^:/]+))?$/.exec(named) ?? [];
  return {
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}
