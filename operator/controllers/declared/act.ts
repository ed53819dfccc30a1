// Carries out what was decided about a queue, stream or schema in its data plane, and tells what came of it.
//   T1. What the server refuses for good is an answer, not a failure: trying again is no use until something
//       changes. Everything else is thrown, and comes back with backoff.
//   T2. A deletion takes only what belongs to this object; what is gone or belongs to another one is done.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { EventDraft } from '../../kube/events.ts';
import type { Connection } from './connection.ts';
import { type Action, deletionEvent, type Reason } from './decide.ts';
import type { Declaration, DeclaredKind, DeclaredObject } from './kinds.ts';
import { changesText, reasonOf, type Verdict } from './status.ts';

export interface Place<T extends DeclaredObject> {
  readonly kind: DeclaredKind<T>;
  readonly connection: Connection;
  readonly owner: pb.OwnerInput;
  readonly clusterKey: string;
  readonly tell: (event: EventDraft<Reason>) => void;
  readonly signal: AbortSignal;
}

const REFUSALS: ReadonlySet<string> = new Set([
  ...[
    'OWNED_BY_OTHER',
    'ADOPTION_REFUSED',
    'IMMUTABLE',
    'STALE_GENERATION',
    'INVALID_ARGUMENT',
    'CROSS_SHARD',
    'SCHEMA_INVALID',
  ],
]);

const ADOPTION = { IfIdentical: 'if_identical', Always: 'always', Never: 'never' } as const;

export async function declare<T extends DeclaredObject>(object: T, place: Place<T>): Promise<Verdict> {
  const { kind, connection, owner, signal, tell, clusterKey } = place;
  const adoption = ADOPTION[object.spec.adoptionPolicy ?? 'IfIdentical'];
  const claim = { owner, generation: object.metadata.generation ?? 1, adoption };
  try {
    const declaration = await kind.declare(connection, object, claim, signal);
    const event = declaredEvent(`${kind.kind} ${kind.nameOf(object)} on ${clusterKey}`, declaration);
    if (event !== undefined) tell(event);
    return { kind: 'synced', declaration };
  } catch (error) {
    if (!(error instanceof FlowError) || !REFUSALS.has(error.code)) throw error;
    const message = `${error.code}: ${error.message}${CURES[error.code] ?? ''}`;
    if (reasonOf(object, 'Synced') !== 'Refused')
      tell({ type: 'Warning', reason: 'Refused', action: 'Declare', note: message });
    return { kind: 'obstacle', of: 'Synced', reason: 'Refused', message };
  }
}

const CURES: Readonly<Record<string, string>> = {
  OWNED_BY_OTHER: '; delete that object, choose another name, or, if it is gone for good, flowmesh disown',
  ADOPTION_REFUSED: '; make spec equal to what is there, or set adoptionPolicy: Always',
  IMMUTABLE: '; set it back, or create another one and move over',
};

function declaredEvent(what: string, declaration: Declaration): EventDraft<Reason> | undefined {
  const { result, drifted } = declaration;
  const said = (type: 'Normal' | 'Warning', reason: Reason, note: string): EventDraft<Reason> => ({
    ...{ type, reason, action: 'Declare', note },
  });
  const changes = changesText(declaration);
  if (drifted)
    return said('Warning', 'DriftCorrected', `${what} was changed by somebody else, set back: ${changes}`);
  if (result === 'created') return said('Normal', 'Created', `created ${what}`);
  if (result === 'adopted') return said('Normal', 'Adopted', `took over ${what}, which belonged to nobody`);
  if (result === 'changed') return said('Normal', 'Updated', `changed ${what}: ${changes}`);
  return undefined;
}

type Removal = Extract<Action, { kind: 'remove' }>;

export async function remove<T extends DeclaredObject>(
  object: T,
  { policy }: Removal,
  place: Place<T>,
): Promise<void> {
  const { kind, connection, owner, signal, tell, clusterKey } = place;
  const name = kind.nameOf(object);
  const what = `${kind.kind} ${name} on ${clusterKey}`;
  const release = () => ignoringGone(connection.releaseOwner({ kind: kind.kind, name, owner }, signal));
  if (policy === 'Retain') {
    await release();
    tell(deletionEvent('Released', `${what} stays, and belongs to nobody now`));
    return;
  }
  try {
    await ignoringGone(kind.remove(connection, { name, ifEmpty: policy === 'DeleteIfEmpty', owner }, signal));
    tell(deletionEvent('Deleted', `${what} is deleted`));
  } catch (error) {
    const kept = error instanceof FlowError ? KEPT[error.code] : undefined;
    if (kept === undefined) throw error;
    await release();
    tell(deletionEvent(kept.reason, `${what} stays, ${kept.why}; it belongs to nobody now`));
  }
}

/** Why something is not deleted after all. */
const KEPT: Readonly<Record<string, { reason: Reason; why: string }>> = {
  NOT_EMPTY: { reason: 'NotEmpty', why: 'it is not empty' },
  SCHEMA_IN_USE: { reason: 'InUse', why: 'queues or streams without objects refer to it' },
};

/** T2 */
async function ignoringGone(done: Promise<unknown>): Promise<void> {
  try {
    await done;
  } catch (error) {
    const isGone = error instanceof FlowError && GONE.has(error.code);
    if (!isGone) throw error;
  }
}

const GONE: ReadonlySet<string> = new Set([
  ...['QUEUE_NOT_FOUND', 'STREAM_NOT_FOUND', 'SCHEMA_NOT_FOUND', 'OWNED_BY_OTHER'],
]);
