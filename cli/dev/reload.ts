// Keeps a running server in step with its manifests. Changes are noticed by looking at names, sizes and
// times: a few stats twice a second work with every editor, network folder and container mount, where change
// events do not.
//   L1. A set with a mistake changes nothing: what was declared before stays in force until the mistake is
//       gone. A change that the API server would not take is a mistake.
//   L2. A change is taken up when it has settled, so a half-written file is not read.
//   L3. One reload at a time; what changes meanwhile is the next one.
import { forbiddenChanges, type SourcedResource, servedName } from '../../crds/manifests.ts';
import type { Problem } from '../../crds/problems.ts';
import type { ManifestSet } from '../manifest-files.ts';
import type { Outcome } from '../reconcile.ts';

export type Reload =
  | { kind: 'broken'; problems: Problem[] }
  | { kind: 'applied'; outcomes: Outcome[]; notices: Problem[]; forgotten: string[] }
  | { kind: 'failed'; error: unknown };

export interface ReloadWorld {
  signature(): Promise<string>;
  read(): Promise<ManifestSet>;
  apply(resources: readonly SourcedResource[]): Promise<Outcome[]>;
  report(reload: Reload): void;
  /** Resolves after so many ms, or at once when `signal` aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

const lookEveryMs = 300;

/** Runs until `signal` aborts. `declared`: what was applied at the start, `signature` as of then. */
export async function keepInStep(
  world: ReloadWorld,
  declared: readonly SourcedResource[],
  signature: string,
  signal: AbortSignal,
): Promise<void> {
  let [applied, seen, pending] = [declared, signature, signature];
  while (!signal.aborted) {
    await world.sleep(lookEveryMs, signal);
    if (signal.aborted) return;
    const now = await world.signature();
    const settled = now === pending;
    pending = now;
    if (now === seen || !settled) continue; // L2
    seen = now;
    const { reload, resources } = await reloadOnce(world, applied);
    if (resources) applied = resources;
    world.report(reload);
  }
}

async function reloadOnce(
  world: ReloadWorld,
  applied: readonly SourcedResource[],
): Promise<{ reload: Reload; resources?: readonly SourcedResource[] }> {
  try {
    const { resources, problems, notices, clusterOnly } = await world.read();
    const wrong = problems.length > 0 ? problems : forbiddenChanges(applied, resources);
    if (wrong.length > 0) return { reload: { kind: 'broken', problems: wrong } }; // L1
    const outcomes = await world.apply(resources);
    const declared = new Set(resources.map(identity));
    const forgotten = applied.map(identity).filter((each) => each !== '' && !declared.has(each));
    return {
      reload: { kind: 'applied', outcomes, notices: [...notices, ...clusterOnly], forgotten },
      resources,
    };
  } catch (error) {
    return { reload: { kind: 'failed', error } };
  }
}

/** `queue emails.send`; empty: nothing that is served. */
export function identity(resource: SourcedResource): string {
  const name = servedName(resource);
  return name === undefined ? '' : `${resource.kind.toLowerCase()} ${name}`;
}
