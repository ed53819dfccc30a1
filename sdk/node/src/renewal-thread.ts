// Runs in a worker thread: calls RenewSession for every worker session of the client, over a channel of its
// own. Rules R1 and R2 of renewal.ts. Failed renewals need no report: the session's own stream tells when
// leases are lost.
import { parentPort, workerData } from 'node:worker_threads';
import { QueuesClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { channelTo, metadataOf } from './connection.ts';
import { type RenewalMessage, type RenewalThreadData, type RenewedSession, renewEveryMs } from './renewal.ts';

const { endpoint, heartbeat, blockedTimeoutMs } = workerData as RenewalThreadData;
const beats = new BigInt64Array(heartbeat);
const channelOverride = channelTo(endpoint);
const client = new QueuesClient('', grpc.credentials.createInsecure(), { channelOverride });
const timers = new Map<string, NodeJS.Timeout>();

parentPort?.on('message', (message: RenewalMessage) => {
  if (message.kind === 'add') add(message);
  else remove(message.sessionId);
});

function add(session: RenewedSession): void {
  remove(session.sessionId);
  const everyMs = renewEveryMs(session.visibilityMs);
  timers.set(
    session.sessionId,
    setInterval(() => renew(session, everyMs), everyMs),
  );
}

function remove(sessionId: string): void {
  clearInterval(timers.get(sessionId));
  timers.delete(sessionId);
}

function renew({ queue, sessionId }: RenewedSession, everyMs: number): void {
  if (!isMainThreadAlive()) return; // R2
  const options = { deadline: Date.now() + everyMs };
  client.renewSession({ queue, sessionId }, metadataOf(endpoint), options, () => {});
}

function isMainThreadAlive(): boolean {
  const silentMs = Number(process.hrtime.bigint() - Atomics.load(beats, 0)) / 1e6;
  return silentMs < blockedTimeoutMs;
}
