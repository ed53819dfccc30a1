// The status of a queue, stream or schema. Pure.
//   S1. A status that says the same is the same, byte for byte: messages hold nothing that moves by itself.
//   S2. What is not known now stays as it was last known: figures and effective values of an unreachable data
//       plane are the last ones, and Ready says that they are.
import { conditionOf, nextConditions, type WantedCondition } from '../../kube/conditions.ts';
import type { ScalingReport } from '../scaling/report.ts';
import { dateOfOldest } from './age.ts';
import type { Reason } from './decide.ts';
import type { Declaration, DeclaredObject, DeclaredStatus } from './kinds.ts';

const DRIFT_SHOWN_MS = 30_000;

export type Verdict =
  /** It is as declared; by this round, if there is a declaration. */
  | { readonly kind: 'synced'; readonly declaration: Declaration | undefined }
  /** Trying again will not help before something changes. */
  | {
      readonly kind: 'obstacle';
      readonly of: 'Accepted' | 'Synced';
      readonly reason: Reason;
      readonly message: string;
    }
  /** Comes back with backoff. */
  | { readonly kind: 'failed'; readonly message: string };

/** What the last list of figures says of it, as the kind reads it. */
export interface Facts {
  /** Fields of the status that hold whatever the data plane says. */
  readonly always: object;
  readonly figures: object | undefined;
  readonly oldestReadyAtMs: number;
  /** It is there, and belongs to this object. */
  readonly isOurs: boolean;
  /** It is in the list, whoever has it. */
  readonly isListed: boolean;
  /** Unset: its kind cannot be scaled. */
  readonly scaling: ScalingFacts | undefined;
}

export interface ScalingFacts {
  readonly isAsked: boolean;
  /** About this generation; unset: nothing yet. */
  readonly report: ScalingReport | undefined;
}

export const reasonOf = (object: DeclaredObject, type: string): string | undefined =>
  conditionOf(object.status?.conditions, type)?.reason;

export function verdictStatus(
  object: DeclaredObject,
  { facts }: { readonly facts: Facts },
  verdict: Verdict,
  nowMs: number,
): DeclaredStatus {
  const before = object.status;
  const generation = object.metadata.generation ?? 1;
  const declaration = verdict.kind === 'synced' ? verdict.declaration : undefined;
  const latestVersion = declaration?.latestVersion ?? before?.latestVersion;
  const wanted = [
    acceptedOf(verdict),
    syncedOf(verdict),
    readyOf(object, verdict, facts),
    driftedOf(object, verdict, latestVersion, nowMs),
  ].map((each): WantedCondition => ({ ...each, observedGeneration: generation }));
  const scaling = scalingOf(before, facts, generation);
  const oldest =
    facts.figures === undefined
      ? before?.oldestReadyAt
      : dateOfOldest(before?.oldestReadyAt, facts.oldestReadyAtMs, nowMs);
  const figures = facts.figures ?? before?.figures ?? declaration?.figures;
  const effective = declaration?.effective ?? before?.effective;
  return {
    observedGeneration: generation,
    conditions: nextConditions(before?.conditions, [...wanted, ...scaling.conditions], nowMs),
    ...facts.always,
    ...(oldest !== undefined && { oldestReadyAt: oldest }),
    ...(figures !== undefined && { figures }),
    ...(latestVersion !== undefined && { latestVersion }),
    ...(scaling.shown !== undefined && { scaling: scaling.shown }),
    ...(effective !== undefined && { effective }),
  };
}

type Saying = Omit<WantedCondition, 'observedGeneration'>;

const say = (type: string, status: Saying['status'], reason: string, message: string): Saying => ({
  ...{ type, status, reason, message },
});

function acceptedOf(verdict: Verdict): Saying {
  if (verdict.kind === 'obstacle' && verdict.of === 'Accepted')
    return say('Accepted', 'False', verdict.reason, verdict.message);
  return say('Accepted', 'True', 'Accepted', 'spec and references are valid');
}

/** Whether the data plane has it, where nobody can look. */
const UNKNOWN: ReadonlySet<string> = new Set(['Unreachable', 'ClusterStopped', 'Deleting', 'Paused']);

/** What keeps spec from being in force, and takes nothing from what is. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...['InUse', 'Invalid', 'Paused', 'Refused'],
  ...['SchemaElsewhere', 'SchemaNotFound', 'SchemaNotReady', 'SchemaVersionNotFound'],
]);

function syncedOf(verdict: Verdict): Saying {
  if (verdict.kind === 'synced') return say('Synced', 'True', 'Declared', 'the cluster has what spec says');
  if (verdict.kind === 'failed') return say('Synced', 'False', 'Failed', verdict.message);
  return say('Synced', UNKNOWN.has(verdict.reason) ? 'Unknown' : 'False', verdict.reason, verdict.message);
}

function readyOf(object: DeclaredObject, verdict: Verdict, { isOurs, isListed }: Facts): Saying {
  if (verdict.kind === 'synced') return say('Ready', 'True', 'Ready', 'it can be used');
  if (verdict.kind === 'failed') {
    // One call that failed says nothing of what is there already.
    const was = conditionOf(object.status?.conditions, 'Ready')?.status === 'True';
    return was
      ? say('Ready', 'True', 'Ready', 'it can be used')
      : say('Ready', 'False', 'Failed', verdict.message);
  }
  const { reason, message } = verdict;
  // Until the first list of figures, what was said last.
  const was = conditionOf(object.status?.conditions, 'Ready')?.status === 'True';
  if ((isOurs || (!isListed && was)) && HARMLESS.has(reason))
    return say('Ready', 'True', reason, `it can be used, not as spec says: ${message}`);
  return say('Ready', reason === 'Unreachable' ? 'Unknown' : 'False', reason, message);
}

function driftedOf(
  { status, spec }: DeclaredObject,
  verdict: Verdict,
  latestVersion: number | undefined,
  nowMs: number,
): Saying {
  const declaration = verdict.kind === 'synced' ? verdict.declaration : undefined;
  if (declaration?.drifted === true) {
    const what = `somebody else had changed it, it was set back: ${changesText(declaration)}`;
    return say('Drifted', 'True', 'Corrected', what);
  }
  const was = conditionOf(status?.conditions, 'Drifted');
  const isFresh = was?.reason === 'Corrected' && nowMs - Date.parse(was.lastTransitionTime) < DRIFT_SHOWN_MS;
  if (was?.status === 'True' && (isFresh || verdict.kind !== 'synced'))
    return say('Drifted', 'True', was.reason, was.message);
  if (verdict.kind !== 'synced') return say('Drifted', 'Unknown', 'NotKnown', 'see Synced');
  if (latestVersion !== undefined && !spec.versions?.some(({ version }) => version === latestVersion)) {
    const cure = 'add it to spec.versions, as versions stay';
    const what = `version ${latestVersion} is in force, and not in spec: ${cure}`;
    return say('Drifted', 'True', 'NotInSpec', what);
  }
  return say('Drifted', 'False', 'AsDeclared', 'nobody else changed it');
}

/** `maxAttempts 5 -> 10`, as it was and as it is again. */
export function changesText({ changes }: Pick<Declaration, 'changes'>): string {
  const shown = changes
    .slice(0, 10)
    .map(({ field, before, after }) => `${field} ${before || '-'} -> ${after || '-'}`);
  return shown.join(', ') || 'nothing that matters';
}

interface ScalingStatus {
  readonly conditions: readonly WantedCondition[];
  readonly shown?: DeclaredStatus['scaling'];
}

/** S2: until something is told of this generation, what was told before, and of which. */
function scalingOf(
  before: DeclaredStatus | undefined,
  { scaling }: Facts,
  generation: number,
): ScalingStatus {
  if (scaling === undefined) return { conditions: [] };
  const about = (said: Saying) => [{ ...said, observedGeneration: generation }];
  if (!scaling.isAsked)
    return { conditions: about(say('ScalingReady', 'False', 'NotConfigured', 'spec does not ask for it')) };
  const { report } = scaling;
  if (report !== undefined) {
    const { status, reason, message } = report.verdict;
    const said = { conditions: about(say('ScalingReady', status, reason, message)) };
    const shown = report.shown.find(({ group }) => group === undefined) ?? report.shown;
    // Of an empty map that an apply leaves without fields the API server makes a null, and refuses it.
    return Object.keys(shown).length === 0 ? said : { ...said, shown };
  }
  const was = conditionOf(before?.conditions, 'ScalingReady');
  if (was !== undefined && was.reason !== 'NotConfigured') {
    const { lastTransitionTime: _, ...said } = was;
    return { conditions: [said], ...(before?.scaling && { shown: before.scaling }) };
  }
  const message = 'the operator has not looked at its scaling yet';
  return { conditions: about(say('ScalingReady', 'Unknown', 'Pending', message)) };
}
