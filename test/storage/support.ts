// A table of texts, keys of one tenant, and a row store on a fresh place.
import { encodeBatch, patchHead } from '@flowmesh/protocol';
import type { Table } from '../../dataplane/storage/contract.ts';
import { u32be } from '../../dataplane/storage/keys.ts';

export const texts: Table<string> = {
  id: 40,
  name: 'texts',
  encode: (value, into) => into.text(value),
  decode: (from) => from.text(),
};

export const others: Table<string> = { ...texts, id: 41, name: 'others' };

export const keyOf = (table: Table<unknown>, part: string) => u32be(1) + String.fromCharCode(table.id) + part;

export const yields = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A record batch as the server stores it. */
export function batchOf(values: readonly string[], baseOffset: number, timeMs: number): Buffer {
  const batch = encodeBatch(values.map((value) => ({ value: Buffer.from(value) })));
  patchHead(batch, baseOffset, timeMs);
  return batch;
}
