// Raw gRPC load for the backlog benchmark: whole batches over the hot streams, no SDK in between.
import { encodeBatch, readHead } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { KvClient, QueuesClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';

export interface RawClient {
  /** Enqueues jobs `from`..`to`; `key` gives each its order key. */
  enqueue(queue: string, range: { from: number; to: number }, key?: (i: number) => string): Promise<void>;
  /** Handles and acks `count` jobs; resolves when all acks are durable. */
  drain(queue: string, count: number): Promise<void>;
  hashSet(key: string, fields: readonly (readonly [string, string])[]): Promise<void>;
  close(): void;
}

const BATCH = 500;
const IN_FLIGHT = 16;
const OPTIONS = { 'grpc.max_receive_message_length': -1 };

export function rawClient(address: string): RawClient {
  const queues = new QueuesClient(address, grpc.credentials.createInsecure(), OPTIONS);
  const kv = new KvClient(address, grpc.credentials.createInsecure(), OPTIONS);
  const payload = Buffer.alloc(200, 'x');
  let session = 0;
  return {
    enqueue(queue, { from, to }, key) {
      return new Promise((resolve, reject) => {
        const call = queues.enqueueStream();
        let next = from;
        let inFlight = 0;
        const fill = () => {
          for (; inFlight < IN_FLIGHT && next < to; inFlight++) {
            const end = Math.min(to, next + BATCH);
            const records = [];
            for (; next < end; next++)
              records.push({ value: payload, key: key === undefined ? undefined : Buffer.from(key(next)) });
            call.write({ queue, batch: encodeBatch(records) });
          }
          if (inFlight === 0) call.end();
        };
        call.on('data', (reply: pb.EnqueueBatchReply) => {
          if (reply.error?.code) reject(new Error(`${reply.error.code}: ${reply.error.message}`));
          if (reply.count === 0) return;
          inFlight--;
          fill();
        });
        call.on('end', resolve);
        call.on('error', reject);
        fill();
      });
    },
    drain(queue, count) {
      return new Promise((resolve, reject) => {
        const call = queues.work();
        let left = count;
        let unsettled = 0;
        let seq = 0;
        // Credits add up to exactly `count`: nothing beyond it is leased.
        let credited = Math.min(4000, count);
        call.write({ hello: { queue, sessionId: `bench-${process.pid}-${session++}`, credits: credited } });
        call.on('data', ({ delivery, settled }: pb.WorkResponse) => {
          if (delivery) {
            const n = readHead(delivery.batch as Buffer).count;
            const base = readHead(delivery.batch as Buffer).baseOffset;
            const offsets = delivery.offsets.length > 0 ? delivery.offsets : null;
            const acks =
              offsets === null
                ? [{ offset: base, epoch: delivery.firstEpoch, count: n }]
                : offsets.map((offset, i) => ({ offset, epoch: delivery.firstEpoch + i, count: 1 }));
            unsettled += 1;
            left -= n;
            call.write({ settle: { seq: ++seq, acks } });
            const credits = Math.min(n, count - credited);
            credited += credits;
            if (credits > 0) call.write({ credits });
          }
          if (settled) {
            if (settled.error?.code || settled.lostOffsets.length > 0)
              reject(new Error('a settlement was lost'));
            unsettled--;
            if (left <= 0 && unsettled === 0) call.end();
          }
        });
        call.on('end', resolve);
        call.on('error', reject);
      });
    },
    hashSet(key, fields) {
      const hashSet = {
        key: Buffer.from(key),
        fields: fields.map(([f, v]) => ({ field: Buffer.from(f), value: Buffer.from(v) })),
      };
      return new Promise((resolve, reject) => {
        kv.execute({ ops: [{ hashSet }] }, (error, reply) => {
          const failure = reply?.results[0]?.error;
          if (error) reject(error);
          else if (failure?.code) reject(new Error(`${failure.code}: ${failure.message}`));
          else resolve();
        });
      });
    },
    close() {
      queues.close();
      kv.close();
    },
  };
}
