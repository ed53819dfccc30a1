// What a queue does over time: /v1/queues/{queue}/redrive, the task that moves dead jobs back, and /drain.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { messageFields } from './content.ts';
import { mutationOf } from './request.ts';
import { closed, count, flag, idempotencyHeaders, open, params, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface QueueParams {
  queue: string;
}

interface RedriveBody {
  targetQueue?: string;
  max?: number;
  perSecond?: number;
  parkAfter?: number;
}

const tags = ['queues'];

const task = open({
  queue: text('The dead-letter queue'),
  number: count('Counts the tasks of the queue, from 1'),
  state: text('running, done, cancelled or failed'),
  targetQueue: text('Empty: where each job came from'),
  max: count('At most this many; 0: all that were there'),
  perSecond: count('0: as fast as it goes'),
  parkAfter: count('Jobs redriven this often are parked'),
  moved: count('Jobs moved'),
  parked: count('Jobs parked'),
  remaining: count('Waiting jobs that are still there'),
  startedAtMs: count('When it started'),
  endedAtMs: count('When it ended; 0: it runs'),
  error: text('Why it failed'),
});

const fields = (answer: pb.RedriveTaskInput) => messageFields(pb.RedriveTask, answer);

export function addRedriveRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  const { queues } = fabric;
  const url = '/v1/queues/:queue/redrive';

  app.post<{ Params: QueueParams; Body?: { draining?: boolean } }>(
    '/v1/queues/:queue/drain',
    {
      schema: {
        operationId: 'drainQueue',
        tags,
        summary: 'Refuse new jobs and finish those that are there; {"draining": false} takes jobs again',
        params: params('queue'),
        headers: idempotencyHeaders,
        body: closed({ draining: flag('Unset: true') }),
        response: { 200: open({ unfinished: count('Jobs that are not finished') }), ...problems },
      },
    },
    async (request) => {
      const { queue } = request.params;
      const draining = request.body?.draining ?? true;
      const message = pb.SetDrainingRequest.create({ queue, draining, mutation: mutationOf(request) });
      const { unfinished } = await queues.setDraining(request.caller, message);
      return { unfinished: unfinished ?? 0 };
    },
  );

  app.put<{ Params: QueueParams; Body?: RedriveBody }>(
    url,
    {
      schema: {
        operationId: 'startRedrive',
        tags,
        summary: 'Start a task that moves dead jobs back, or elsewhere, oldest first',
        params: params('queue'),
        headers: idempotencyHeaders,
        body: closed({
          targetQueue: text('Another queue than the one each job came from'),
          max: count('At most this many; unset: all that are there'),
          perSecond: count('Unset: as fast as it goes'),
          parkAfter: count('Jobs redriven this often go to {queue}.parked; unset: 3'),
        }),
        response: { 200: task, ...problems },
      },
    },
    async (request) => {
      const { queue } = request.params;
      const mutation = mutationOf(request);
      const message = pb.StartRedriveRequest.create({ ...request.body, queue, mutation });
      return fields(await queues.startRedrive(request.caller, message));
    },
  );

  app.get<{ Params: QueueParams }>(
    url,
    {
      schema: {
        operationId: 'getRedrive',
        tags,
        summary: 'The newest redrive task of the queue',
        params: params('queue'),
        response: { 200: task, ...problems },
      },
    },
    async ({ caller, params }) =>
      fields(await queues.getRedrive(caller, pb.GetRedriveRequest.create(params))),
  );

  app.delete<{ Params: QueueParams }>(
    url,
    {
      schema: {
        operationId: 'cancelRedrive',
        tags,
        summary: 'Stop the task; what has not been moved stays where it is',
        params: params('queue'),
        headers: idempotencyHeaders,
        response: { 200: task, ...problems },
      },
    },
    async (request) => {
      const { queue } = request.params;
      const message = pb.CancelRedriveRequest.create({ queue, mutation: mutationOf(request) });
      return fields(await queues.cancelRedrive(request.caller, message));
    },
  );
}
