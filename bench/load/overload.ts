// Load: unary enqueues in an open loop over many connections, each with a deadline, at a rate that may be far
// beyond what the server can do. Nothing is sent again: every call ends acknowledged, refused or unanswered.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { QueuesClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { sleep } from '../support/windows.ts';

const args = JSON.parse(process.argv[2] ?? '{}') as {
  address: string;
  /** A second; 0: closed loop, as fast as answers come. */
  rate: number;
  seconds: number;
  connections: number;
  deadlineMs: number;
  /** Of each call. */
  jobs: number;
  bytes: number;
};

/** Calls that wait for an answer: what 20 connections carry at 100 streams each. */
const OPEN_MAX = 2000;
const CLOSED_LOOP_CALLERS = 200;

const clients = Array.from(
  { length: args.connections },
  () =>
    new QueuesClient(args.address, grpc.credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    }),
);
const jobs = Array.from({ length: args.jobs }, () => ({ payload: Buffer.alloc(args.bytes, 'x') }));
const seen = { offered: 0, acknowledged: 0, refused: 0, unanswered: 0, other: 0, unsent: 0 };
const codes: Record<string, number> = {};
let open = 0;

/**
 * HTTP/2's refusal of a stream beyond the limit of a connection: those of calls that gave up count until the
 * server comes to them.
 */
const isStreamRefused = ({ message }: grpc.ServiceError) => message.includes('NGHTTP2_ENHANCE_YOUR_CALM');

function send(): Promise<void> {
  seen.offered++;
  const client = clients[seen.offered % clients.length] as QueuesClient;
  const request: pb.EnqueueRequestInput = { queue: 'load', jobs };
  open++;
  return new Promise((resolve) => {
    client.enqueue(request, new grpc.Metadata(), { deadline: Date.now() + args.deadlineMs }, (error) => {
      open--;
      if (error === null) seen.acknowledged++;
      else if (error.code === grpc.status.RESOURCE_EXHAUSTED || isStreamRefused(error)) seen.refused++;
      else if ([grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED].includes(error.code)) seen.unanswered++;
      else {
        seen.other++;
        codes[error.message.slice(0, 80)] = (codes[error.message.slice(0, 80)] ?? 0) + 1;
      }
      resolve();
    });
  });
}

const startMs = performance.now();
const endMs = startMs + args.seconds * 1000;
if (args.rate === 0) {
  const caller = async () => {
    while (performance.now() < endMs) await send();
  };
  await Promise.all(Array.from({ length: CLOSED_LOOP_CALLERS }, caller));
} else {
  for (let due = 0; performance.now() < endMs; await sleep(1)) {
    const now = ((performance.now() - startMs) / 1000) * args.rate;
    for (; due < now; due++) {
      if (open < OPEN_MAX) void send();
      else seen.unsent++;
    }
  }
}
const tookMs = performance.now() - startMs;
for (const lastMs = performance.now() + 2 * args.deadlineMs; open > 0 && performance.now() < lastMs; )
  await sleep(50);
for (const client of clients) client.close();
process.stdout.write(`${JSON.stringify({ ...seen, seconds: tookMs / 1000, codes })}\n`);
process.exit(0);
