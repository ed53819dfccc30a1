// Operations on the members of one key, as of an earlier moment: the answers that hashes.ts, sets.ts,
// sorted-sets.ts and scans.ts gave then.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { toByteString } from '../storage/keys.ts';
import { type Member, membersAt, type Past } from './members-as-of.ts';
import { byteNames } from './operation.ts';
import { checkRange, readCursor } from './scans.ts';
import { HASH, type Kind, type Meta, SET, TYPE_NAMES, ZSET } from './tables.ts';
import { rangeAt, scanMembersAt } from './walks-as-of.ts';

/** `meta`: what the key was. */
export async function memberResult(
  op: pb.KvOp,
  meta: Meta | undefined,
  of: Omit<Past, 'meta'>,
): Promise<pb.KvResultInput> {
  const collection = (kind: Kind): Past | undefined => {
    if (meta === undefined) return undefined;
    if (meta.kind === kind) return { ...of, meta };
    const what = `the key held a ${TYPE_NAMES[meta.kind]}, not a ${TYPE_NAMES[kind]}`;
    throw new FlowError('WRONG_TYPE', what);
  };
  switch (op.op) {
    case 'hashGet':
      return ask(collection(HASH), op.hashGet.fields, (value) => ({ value: value as Buffer }));
    case 'setContains':
      return ask(collection(SET), op.setContains.members, () => ({}));
    case 'sortedSetScore':
      return ask(collection(ZSET), op.sortedSetScore.members, (score) => ({ score: score as number }));
    case 'hashScan':
      return walk(collection(HASH), op.hashScan);
    case 'setScan':
      return walk(collection(SET), op.setScan);
    case 'sortedSetRange': {
      checkRange(op.sortedSetRange);
      const past = collection(ZSET);
      return past === undefined ? { found: false } : rangeAt(past, op.sortedSetRange);
    }
    default:
      throw new FlowError('INTERNAL', 'only reads of members come here');
  }
}

/** One entry for each name, in the order asked. */
async function ask(
  past: Past | undefined,
  names: readonly Buffer[],
  show: (member: Member) => pb.KvEntryInput,
): Promise<pb.KvResultInput> {
  const asked = new Set(byteNames(names));
  const members = past === undefined ? new Map<string, Member>() : await membersAt(past, asked);
  const entries = names.map((name) => {
    const member = members.get(toByteString(name));
    return member === undefined ? { name, found: false } : { name, found: true, ...show(member) };
  });
  return { found: past !== undefined, revision: past?.meta.revision ?? 0, entries };
}

async function walk(past: Past | undefined, scan: pb.HashScan | pb.SetScan): Promise<pb.KvResultInput> {
  readCursor(scan.cursor);
  return past === undefined ? { found: false } : scanMembersAt(past, scan);
}
