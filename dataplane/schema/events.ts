// What happens to schemas, and how it is written to the journal. Event types 160-175.
//   V1. A layout never changes: a new meaning is a new type.
import { type Ownership, readOwnership, writeOwnership } from '../admin/ownership.ts';
import type { Event } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { SchemaTerms } from './tables.ts';

export const EVENT_RANGE = [160, 175] as const;
export const SCHEMA_EVENT = { declared: 160, owned: 161, deleted: 162 } as const;

interface OfSchema extends Event {
  readonly tenant: number;
  readonly name: string;
}

/** It was declared, has more versions, or is judged otherwise: the whole of it. */
export interface Declared extends OfSchema {
  readonly type: typeof SCHEMA_EVENT.declared;
  readonly uid: number;
  readonly createdAtMs: number;
  readonly terms: SchemaTerms;
}

/** Who declares it from now on; behind `declared` where both happen. Only at home. */
export interface Owned extends OfSchema {
  readonly type: typeof SCHEMA_EVENT.owned;
  /** Null: nobody. */
  readonly ownership: Ownership | null;
}

export interface Deleted extends OfSchema {
  readonly type: typeof SCHEMA_EVENT.deleted;
}

export type SchemaEvent = Declared | Owned | Deleted;

/** Writes the event behind its type byte, which the shard writes. */
export function encodeEvent(event: SchemaEvent, w: ByteWriter): void {
  w.varint(event.tenant);
  w.text(event.name);
  if (event.type === SCHEMA_EVENT.declared) {
    w.varint(event.uid);
    w.varint(event.createdAtMs);
    w.text(JSON.stringify(event.terms));
  } else if (event.type === SCHEMA_EVENT.owned) writeOwnership(event.ownership, w);
}

export function decodeEvent(type: number, r: ByteReader): SchemaEvent {
  const of = { tenant: r.varint(), name: r.text() };
  if (type === SCHEMA_EVENT.owned) return { type, ...of, ownership: readOwnership(r) };
  if (type === SCHEMA_EVENT.deleted) return { type, ...of };
  const [uid, createdAtMs] = [r.varint(), r.varint()];
  const terms = JSON.parse(r.text()) as SchemaTerms;
  return { type: SCHEMA_EVENT.declared, ...of, uid, createdAtMs, terms };
}
