// Who declares a queue or a stream, and who may change it: pure decisions, the same for everything that is
// declared.
//   O1. An owner is (uid, clusterUid). Where only one of two says its cluster, the uid decides.
//   O2. Without an owner everybody who may declare does; with one, a plain declaration is taken, too, but the
//       thing is `isDrifted` until its owner declares it again.
//   O3. A refusal comes before anything is emitted.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Change } from './changes.ts';

export interface Owner {
  readonly uid: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly clusterUid: string;
}

export interface Ownership {
  readonly owner: Owner;
  /** Of the owner's last declaration. */
  readonly generation: number;
  /** Somebody else declared it since. */
  readonly isDrifted: boolean;
}

export type Adoption = 'if_identical' | 'always' | 'never';
const ADOPTIONS: readonly Adoption[] = ['if_identical', 'always', 'never'];

/** A declaration in the name of an owner. */
export interface Claim {
  readonly owner: Owner;
  readonly generation: number;
  readonly adoption: Adoption;
}

export interface Claimed {
  readonly result: 'created' | 'adopted' | 'changed' | 'unchanged';
  readonly changes: readonly Change[];
  readonly drifted: boolean;
  /** What is to be kept; null: it is already. */
  readonly ownership: Ownership | null;
}

/** What is there. `changes`: from what it is to what is declared. */
export interface Known {
  readonly ownership: Ownership | null;
  readonly changes: readonly Change[];
}

/** `what` names it: `queue emails`. */
export function decideClaim(what: string, known: Known | undefined, claim: Claim): Claimed {
  const { owner, generation } = claim;
  const fresh: Ownership = { owner, generation, isDrifted: false };
  if (known === undefined) return { result: 'created', changes: [], drifted: false, ownership: fresh };
  const { ownership, changes } = known;
  if (ownership === null) {
    checkAdoption(what, changes, claim);
    return { result: 'adopted', changes, drifted: false, ownership: fresh };
  }
  checkOwner(what, ownership, owner);
  if (generation < ownership.generation) {
    const now = `at generation ${ownership.generation} of ${ownerText(ownership.owner)}`;
    throw new FlowError('STALE_GENERATION', `${what} is ${now}; ${generation} is older`);
  }
  const isNews = generation > ownership.generation || ownership.isDrifted || changes.length > 0;
  return {
    result: changes.length > 0 ? 'changed' : 'unchanged',
    changes,
    drifted: ownership.isDrifted || (changes.length > 0 && generation === ownership.generation),
    ownership: isNews || !isEqual(ownership.owner, owner) ? fresh : null,
  };
}

function checkAdoption(what: string, changes: readonly Change[], { adoption }: Claim): void {
  if (adoption === 'always' || (adoption === 'if_identical' && changes.length === 0)) return;
  const differences = changes.map(
    ({ field, before, after }) => `${field} ${before || '-'} -> ${after || '-'}`,
  );
  const why =
    adoption === 'never'
      ? 'the adoption policy is never'
      : `it differs from what is declared: ${differences.slice(0, 10).join(', ')}`;
  throw new FlowError('ADOPTION_REFUSED', `${what} is there and has no owner; ${why}`);
}

/** Throws OWNED_BY_OTHER unless `asking` owns it. */
export function checkOwner(what: string, ownership: Ownership | null, asking: Owner): void {
  if (ownership === null)
    throw new FlowError('OWNED_BY_OTHER', `${what} has no owner: it is not that of ${ownerText(asking)}`);
  if (isSameOwner(ownership.owner, asking)) return;
  const other = ownerText(ownership.owner);
  throw new FlowError('OWNED_BY_OTHER', `${what} belongs to ${other}, not to ${ownerText(asking)}`);
}

/** O1 */
export const isSameOwner = (a: Owner, b: Owner): boolean =>
  a.uid === b.uid && (a.clusterUid === b.clusterUid || a.clusterUid === '' || b.clusterUid === '');

const isEqual = (a: Owner, b: Owner): boolean =>
  a.kind === b.kind && a.namespace === b.namespace && a.name === b.name && a.clusterUid === b.clusterUid;

/** An owner declares one thing of a kind, and `name` is what it has. */
export const renamed = (kind: string, name: string): FlowError =>
  new FlowError(
    'IMMUTABLE',
    `this owner has the ${kind} ${name}: a ${kind} keeps its name; release or delete that one first`,
  );

/** `Queue default/emails (uid 1234)`. */
export function ownerText({ uid, kind, namespace, name, clusterUid }: Owner): string {
  const path = [namespace, name].filter(Boolean).join('/');
  const where = clusterUid === '' ? '' : `, cluster ${clusterUid}`;
  return `${[kind, path].filter(Boolean).join(' ') || 'an owner'} (uid ${uid}${where})`;
}

export function readClaim(request: {
  readonly owner: pb.Owner | null;
  readonly generation: number;
  readonly adoption: string;
}): Claim {
  if (request.owner === null) throw new FlowError('INVALID_ARGUMENT', 'owner is missing: say who declares');
  const { generation } = request;
  if (generation < 1)
    throw new FlowError('INVALID_ARGUMENT', `generation is counted from 1, not ${generation}`);
  const adoption = ADOPTIONS.find((each) => each === (request.adoption || 'if_identical'));
  if (adoption === undefined) {
    const list = ADOPTIONS.join(', ');
    throw new FlowError('INVALID_ARGUMENT', `adoption is one of ${list}, not ${request.adoption}`);
  }
  return { owner: readOwner(request.owner), generation, adoption };
}

export function readOwner({ uid, kind, namespace, name, clusterUid }: pb.Owner): Owner {
  const owner = { uid, kind, namespace, name, clusterUid };
  if (uid === '') throw new FlowError('INVALID_ARGUMENT', 'owner.uid is missing');
  for (const [field, value] of Object.entries(owner)) {
    if (Buffer.byteLength(value) <= LIMITS.nameBytes && !CONTROL.test(value)) continue;
    const most = `at most ${LIMITS.nameBytes} bytes without control characters`;
    throw new FlowError('INVALID_ARGUMENT', `owner.${field} has ${most}`);
  }
  return owner;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u001f\u007f]/;

/** The fields that every declared thing shows of its owner. */
export const ownershipMessage = (ownership: Ownership | null) => ({
  owner: ownership?.owner ?? null,
  generation: ownership?.generation ?? 0,
  drifted: ownership?.isDrifted ?? false,
});

// Bytes: u8 whether there is an owner; then uid, kind, namespace, name, clusterUid, generation, u8 drifted.

export function writeOwnership(ownership: Ownership | null, w: ByteWriter): void {
  w.u8(ownership === null ? 0 : 1);
  if (ownership === null) return;
  const { owner } = ownership;
  for (const field of [owner.uid, owner.kind, owner.namespace, owner.name, owner.clusterUid]) w.text(field);
  w.varint(ownership.generation);
  w.u8(ownership.isDrifted ? 1 : 0);
}

export function readOwnership(r: ByteReader): Ownership | null {
  if (r.u8() === 0) return null;
  const owner = { uid: r.text(), kind: r.text(), namespace: r.text(), name: r.text(), clusterUid: r.text() };
  return { owner, generation: r.varint(), isDrifted: r.u8() === 1 };
}
