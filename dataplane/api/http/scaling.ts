// How many workers a queue or a consumer group needs, and why: what the scaler of KEDA and the status of the
// operator say, for people and dashboards.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { messageFields } from './content.ts';
import { count, flag, list, number, open, params, problems, speed, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

const { busyWorkers, workersWanted: _, ...rates } = speed;

const answer = open({
  signals: open({
    atMs: count('When it was measured'),
    lag: count('Ready jobs, or records that are there and not committed'),
    inFlight: count('Leased jobs; of groups 0'),
    oldestReadyAtMs: count('When the oldest of the lag became ready or was written; 0: none'),
    ...rates,
    workers: count('Workers that are connected or hold jobs'),
    busyWorkers,
    stalled: flag('Nothing is completed although workers have had work for long'),
    partitions: count('Of the stream; of queues 0'),
    stalledPartitions: count('Those of which nothing is committed; their lag is not in lag'),
  }),
  advice: open({
    workersWanted: count('Workers that are needed'),
    active: flag('One at least has something to do'),
    reason: text('One word for programs'),
    why: text('One sentence with the figures that decided'),
  }),
  lagTarget: number('Lag that one worker stands for; 0: no condition names the lag'),
  workers: list(
    open({
      name: text('As it named itself; in Kubernetes its pod'),
      busy: flag('It has something to do'),
      leased: count('Jobs that it holds, or partitions with records on the way'),
      build: text('Which build it runs, as it said'),
    }),
  ),
  scaling: open({
    scaleFrom: count('Workers at least'),
    scaleTo: count('Workers at most'),
    basedOn: list(text('A condition')),
  }),
});

export function addScalingRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  const tags = ['scaling'];
  const response = { 200: answer, ...problems };

  app.get<{ Params: { queue: string } }>(
    '/v1/queues/:queue/scaling',
    {
      schema: {
        ...{ operationId: 'getQueueScaling', tags, params: params('queue'), response },
        summary: 'How many workers the queue needs, and why',
      },
    },
    async ({ caller, params: { queue } }) => {
      const request = pb.GetScalingRequest.create({ queue });
      return messageFields(pb.GetScalingResponse, await fabric.admin.getScaling(caller, request));
    },
  );

  app.get<{ Params: { stream: string; group: string } }>(
    '/v1/streams/:stream/groups/:group/scaling',
    {
      schema: {
        ...{ operationId: 'getGroupScaling', tags, params: params('stream', 'group'), response },
        summary: 'How many members the group needs, and why',
      },
    },
    async ({ caller, params: { stream, group } }) => {
      const request = pb.GetScalingRequest.create({ stream, group });
      return messageFields(pb.GetScalingResponse, await fabric.admin.getScaling(caller, request));
    },
  );
}
