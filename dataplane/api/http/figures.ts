// GET /v1/figures: what a status page or a scaler polls, all queues and streams in one call.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { messageFields } from './content.ts';
import { count, flag, list, open, problems, speed, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

/** Of what is declared: who does. */
export const ownership = {
  owner: { type: ['object', 'null'], description: 'Who declares it; null: nobody owns it' },
  generation: count("Of the owner's last declaration"),
  drifted: flag('Somebody else changed it since'),
};

const owned = {
  ownerUid: text('Who declares it; empty: nobody owns it'),
  generation: ownership.generation,
  drifted: ownership.drifted,
};

const queue = open({
  name: text('Name'),
  waiting: count('Ready now'),
  delayed: count('Waiting for a time'),
  blocked: count('Waiting for an earlier job of the same key'),
  leased: count('Being handled'),
  waitingChildren: count('Waiting for their children'),
  dead: count('Unfinished jobs of its dead-letter queue'),
  oldestReadyAtMs: count('When the oldest ready job became ready; 0: none'),
  workers: count('Workers that are connected or hold jobs'),
  busyWorkers: speed.busyWorkers,
  arrivalsPerSecond: speed.arrivalsPerSecond,
  completionsPerSecond: speed.completionsPerSecond,
  processingMs: speed.processingMs,
  workersWanted: speed.workersWanted,
  enqueuedTotal: count('Ever enqueued'),
  completedTotal: count('Ever completed'),
  failedTotal: count('Attempts that failed or timed out'),
  deadTotal: count('Ever moved to the dead-letter queue'),
  paused: flag('Nothing is delivered'),
  draining: flag('New jobs are refused'),
  ...owned,
});

const schema = open({
  name: text('Name'),
  latestVersion: count('The newest version'),
  versions: count('Versions'),
  users: count('Queues and streams that refer to it'),
  ...owned,
});

const stream = open({
  name: text('Name'),
  partitions: count('Partitions'),
  records: count('Records kept'),
  bytes: count('Bytes kept'),
  groups: list(
    open({
      group: text('Group'),
      lag: count('Records to read'),
      members: count('Members'),
      ...speed,
      oldestUncommittedAtMs: count('When the oldest record to read was written; 0: none'),
    }),
  ),
  ...owned,
});

interface Query {
  kind?: string;
  cursor?: string;
  limit?: number;
  bucketed?: boolean;
}

export function addFigureRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  app.get<{ Querystring: Query }>(
    '/v1/figures',
    {
      schema: {
        operationId: 'listFigures',
        tags: ['system'],
        summary: 'Figures of all queues, schemas and streams, in pages',
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            kind: text('Only these', { enum: ['queue', 'schema', 'stream'] }),
            cursor: text('Of the last page'),
            limit: count('Queues, schemas and streams a page; default 1,000', { minimum: 1, maximum: 5000 }),
            bucketed: flag('Counts to two significant digits: small changes change nothing'),
          },
        },
        response: {
          200: open({
            queues: list(queue),
            schemas: list(schema),
            streams: list(stream),
            cursor: text('Empty: the last page'),
          }),
          ...problems,
        },
      },
    },
    async ({ caller, query }) => {
      const request = pb.ListFiguresRequest.create(query);
      return messageFields(pb.ListFiguresResponse, await fabric.admin.listFigures(caller, request));
    },
  );
}
