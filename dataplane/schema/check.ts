// Checks batches that are written to a queue or stream with a schema, and notes in each entry which version
// it was checked by (`name@version`), so that whoever reads it later knows what it holds.
//   V1. An entry that names a version is checked by that one: producers move on at their own pace.
//       Others are checked by the version that the reference names, or the newest.
//   V2. Where the schema is not there, nothing is written.
//   V3. A deletion (tombstone) has no value, and is not checked.
import {
  type BatchHead,
  CONTENT_TYPES,
  type EntrySpan,
  EXT,
  encodedExt,
  FlowError,
  readEntries,
  readExt,
  readHead,
  sliceBatch,
} from '@flowmesh/protocol';
import { type Checker, checkWithin } from '../../crds/payload/checker.ts';
import { TOO_LONG } from '../../crds/payload/watchdog.ts';
import type { Checkers } from './checkers.ts';
import { newestOf } from './declare.ts';
import type { SchemaState } from './state.ts';
import type { SchemaRow } from './tables.ts';

export interface SchemaRef {
  readonly name: string;
  /** 0: the newest. */
  readonly version: number;
}

/** An entry that was not taken, and why. */
export interface Refusal {
  /** In the batch as it came. */
  readonly index: number;
  readonly message: string;
}

export interface Checked {
  /** What is to be stored: entries that match, with their version. Without any if all were refused. */
  readonly batch: Buffer;
  readonly head: BatchHead;
  readonly refused: readonly Refusal[];
}

export interface Schemas {
  /** Throws SCHEMA_UNKNOWN if the schema is not there. */
  check(tenant: number, ref: SchemaRef, batch: Buffer, head: BatchHead): Checked;
}

/** Where nothing is declared. */
export const NO_SCHEMAS: Schemas = {
  check(_tenant, ref) {
    throw unknownSchema(ref);
  },
};

export function unknownSchema({ name, version }: SchemaRef): FlowError {
  const what = version === 0 ? `schema ${name}` : `version ${version} of schema ${name}`;
  return new FlowError('SCHEMA_UNKNOWN', `${what} is not declared: declare it first, then this again`);
}

interface Entry {
  readonly span: EntrySpan;
  contentType: string;
  /** `name@version` that the producer wrote; empty: none. */
  stated: string;
  isTombstone: boolean;
}

export function checkBatch(
  { state, checkers }: { state: SchemaState; checkers: Checkers },
  { tenant, ref, batch, head }: { tenant: number; ref: SchemaRef; batch: Buffer; head: BatchHead },
): Checked {
  const schema = state.find(tenant, ref.name);
  if (schema === undefined) throw unknownSchema(ref);
  const versions = new Versions({ tenant, schema, ref, checkers });
  const entries = readEntries(batch, 0, head).map((span) => entryOf(batch, head, span));
  let steps = 0;
  for (const { span, stated } of entries) {
    const checker = versions.checkerOf(stated);
    if (typeof checker === 'object') steps += span.bodyLength * checker.weight;
  }
  let at = 0;
  let refused: Refusal[] = [];
  const run = () => {
    refused = [];
    for (at = 0; at < entries.length; at++) {
      const message = versions.refusalOf(batch, entries[at] as Entry);
      if (message !== undefined) refused.push({ index: at, message });
    }
    return refused;
  };
  if (checkWithin(steps, run) === TOO_LONG) {
    versions.forget();
    return nothingOf(batch, head, [{ index: at, message: `takes too long to check by ${ref.name}` }]);
  }
  return stamped(batch, head, { entries, refused, stamp: versions.stamp });
}

interface VersionsOf {
  readonly tenant: number;
  readonly schema: SchemaRow;
  readonly ref: SchemaRef;
  readonly checkers: Checkers;
}

/** The versions of one schema, while a batch is checked. */
class Versions {
  readonly #of: VersionsOf;
  /** By what entries say; a text: why they may not say so. */
  readonly #known = new Map<string, Checker | string>();
  readonly stamp: string;

  constructor(of: VersionsOf) {
    this.#of = of;
    const { schema, ref } = of;
    const version = ref.version || newestOf(schema).version;
    this.stamp = `${ref.name}@${version}`;
    const checker = this.#find(this.stamp);
    if (typeof checker === 'string') throw unknownSchema(ref);
    this.#known.set('', checker);
  }

  checkerOf(stated: string): Checker | string {
    let checker = this.#known.get(stated);
    if (checker === undefined) {
      checker = this.#find(stated);
      this.#known.set(stated, checker);
    }
    return checker;
  }

  forget(): void {
    const { tenant, schema, checkers } = this.#of;
    for (const version of schema.versions) checkers.forget(tenant, schema.name, version);
  }

  #find(stated: string): Checker | string {
    const { tenant, schema, ref, checkers } = this.#of;
    const { name, version: only } = ref;
    const at = stated.lastIndexOf('@');
    const number = at < 0 ? '' : stated.slice(at + 1);
    const isHere = stated.slice(0, Math.max(at, 0)) === name && /^[1-9]\d{0,6}$/.test(number);
    const shown = stated.slice(0, 100);
    if (!isHere) return `says that it is ${shown}, and ${name}@... is written here`;
    if (only !== 0 && Number(number) !== only)
      return `says that it is ${shown}, and only ${name}@${only} is written here`;
    const version = schema.versions.find((each) => each.version === Number(number));
    return version === undefined
      ? `says that it is ${shown}, which is not declared`
      : checkers.of(tenant, name, version);
  }

  refusalOf(batch: Buffer, { span, contentType, stated, isTombstone }: Entry): string | undefined {
    const checker = this.checkerOf(stated);
    if (typeof checker === 'string') return checker;
    if (isTombstone) return undefined;
    const { bodyAt, bodyLength } = span;
    const violation = checker.check(contentType, batch.subarray(bodyAt, bodyAt + bodyLength));
    if (violation === undefined) return undefined;
    return `${violation.field || 'the payload'} ${violation.what} (${stated || this.stamp})`;
  }
}

function entryOf(batch: Buffer, head: BatchHead, span: EntrySpan): Entry {
  const contentType = CONTENT_TYPES[head.contentTypeCode as 0 | 1 | 2] ?? CONTENT_TYPES[0];
  const entry: Entry = { span, contentType, stated: '', isTombstone: false };
  if (span.extLength > 0)
    readExt(batch, span, (tag, from, to) => {
      if (tag === EXT.schema) entry.stated = batch.toString('utf8', from, to);
      else if (tag === EXT.contentType) entry.contentType = batch.toString('utf8', from, to);
      else if (tag === EXT.tombstone) entry.isTombstone = true;
    });
  return entry;
}

const nothingOf = (batch: Buffer, head: BatchHead, refused: readonly Refusal[]): Checked => ({
  batch,
  head: { ...head, count: 0 },
  refused,
});

function stamped(
  batch: Buffer,
  head: BatchHead,
  { entries, refused, stamp }: { entries: readonly Entry[]; refused: readonly Refusal[]; stamp: string },
): Checked {
  const outside = new Set(refused.map(({ index }) => index));
  const kept = outside.size === 0 ? entries : entries.filter((_, i) => !outside.has(i));
  if (kept.length === 0) return nothingOf(batch, head, refused);
  const isAsItWas = outside.size === 0 && kept.every(({ stated }) => stated !== '');
  if (isAsItWas) return { batch, head, refused };
  const more = encodedExt(EXT.schema, stamp);
  const made = sliceBatch(
    batch,
    head,
    kept.map(({ span }) => span),
    kept.map(({ stated }) => (stated === '' ? more : undefined)),
  );
  return { batch: made, head: readHead(made), refused };
}

const REFUSALS_TOLD = 5;

/** For requests that are carried out as a whole or not at all. `what`: `job` or `record`. */
export function violationOf(what: string, refused: readonly Refusal[]): FlowError {
  const told = refused.slice(0, REFUSALS_TOLD).map(({ index, message }) => `${what} ${index}: ${message}`);
  const more = refused.length - told.length;
  const rest = more > 0 ? `; and ${more} more` : '';
  return new FlowError('SCHEMA_VIOLATION', told.join('; ') + rest);
}

/** All of the batch, or SCHEMA_VIOLATION. */
export function checkWhole(schemas: Schemas, what: string, of: Parameters<Schemas['check']>): Checked {
  const checked = schemas.check(...of);
  if (checked.refused.length > 0) throw violationOf(what, checked.refused);
  return checked;
}
