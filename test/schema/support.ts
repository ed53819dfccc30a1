// Schemas, and what is written under them, as tests write them.
import { encodeBatch } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { aJob, type Bench, caller } from '../queue/bench.ts';
import { aRecord } from '../stream/support.ts';

export const aVersion = (version: number, fields: object, more: Partial<pb.SchemaVersion> = {}) => ({
  version,
  fields: JSON.stringify(fields),
  jsonSchema: '',
  migrate: '',
  ...more,
});

export const aJsonVersion = (version: number, schema: unknown) =>
  aVersion(
    version,
    {},
    { fields: '', jsonSchema: typeof schema === 'string' ? schema : JSON.stringify(schema) },
  );

export const aSchema = (name: string, versions: pb.SchemaVersion[], compatibility = ''): pb.SchemaSpec => ({
  name,
  compatibility,
  versions,
  mutation: null,
});

export const ORDER = { order_id: 'string', amount: 'number', currency: { type: 'string', default: 'EUR' } };

export const apply = (bench: Bench, name: string, ...versions: pb.SchemaVersion[]) =>
  bench.fabric.admin.applySchema(caller, aSchema(name, versions));

export const ref = (name: string, version = 0): pb.SchemaRef => ({ name, version });

export const jsonJob = (payload: unknown, more: Partial<pb.NewJob> = {}): pb.NewJob => ({
  ...aJob(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  contentType: 'application/json',
  ...more,
});

export const jsonRecord = (value: unknown, more: Partial<pb.NewRecord> = {}): pb.NewRecord =>
  aRecord(typeof value === 'string' ? value : JSON.stringify(value), {
    contentType: 'application/json',
    ...more,
  });

export const enqueue = (bench: Bench, queue: string, ...jobs: pb.NewJob[]) =>
  bench.queues.enqueue(caller, { queue, jobs, mutation: null });

export const publish = (bench: Bench, stream: string, ...records: pb.NewRecord[]) =>
  bench.fabric.streams.publish(caller, { stream, records, mutation: null });

/** `code` and `message` of a refusal. */
export const refusal = (code: string, message: RegExp) => ({ code, message: expectText(message) });

const expectText = (pattern: RegExp) => ({
  asymmetricMatch: (other: unknown) => typeof other === 'string' && pattern.test(other),
  toString: () => `${pattern}`,
});

export const batchOf = (...payloads: unknown[]): Buffer =>
  encodeBatch(
    payloads.map((payload) => ({
      value: Buffer.from(JSON.stringify(payload)),
      contentType: 'application/json',
    })),
  );

/** What is stored, as [payload, schema]. */
export async function recordsOf(bench: Bench, stream: string, partition = 0): Promise<unknown[]> {
  const page = await bench.fabric.streams.read(caller, {
    ...{ stream, partition, offset: 0, timestampMs: null, max: 0, from: 'offset' },
  });
  return (page.records ?? []).map(({ value, envelope }) => [
    Buffer.from(value ?? []).toString(),
    envelope?.schema ?? '',
  ]);
}

export async function jobsOf(bench: Bench, queue: string): Promise<unknown[]> {
  const page = await bench.queues.listJobs(caller, { queue, state: '', limit: 0, cursor: '' });
  return (page.jobs ?? []).map(({ payload, envelope }) => [
    Buffer.from(payload ?? []).toString(),
    envelope?.schema ?? '',
  ]);
}
