// GET /v1/queues/{queue}/past: how a queue stood at an earlier moment, and its jobs.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { contentFields, keyFields } from './content.ts';
import { count, list, open, params, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface Query {
  asOfTimeMs?: number;
  asOfPosition?: number;
}

interface ListQuery extends Query {
  state?: string;
  cursor?: string;
  limit?: number;
}

const tags = ['history'];

const moment = {
  asOfTimeMs: count('The state at the end of this millisecond'),
  asOfPosition: count('The state in front of this journal entry of the queue'),
};

const counts = open({
  queue: text('Name of the queue'),
  position: count('Of the moment, for lists of the same'),
  waiting: count('Jobs that waited for a worker'),
  delayed: count('Jobs that were not due'),
  retrying: count('Jobs that waited for their next attempt'),
  blocked: count('Jobs behind another of their key'),
  leased: count('Jobs in the hands of workers'),
  dead: count('Jobs on their way to the dead-letter queue'),
  waitingChildren: count('Parents whose children were not finished'),
});

const jobs = open({
  jobs: list(
    open({
      id: text('Job id'),
      state: text('As in lists of now: waiting, delayed, leased, completed, ...'),
      priority: count('Priority'),
      key: { type: ['string', 'null'], description: 'Key' },
      keyBase64: text('Key that is not text'),
      enqueuedAtMs: count('When it was enqueued'),
      contentType: text('Of the payload'),
    }),
  ),
  cursor: { type: ['string', 'null'], description: 'Of the next page; null: this is the last' },
  position: count('Of the moment'),
});

export function addQueuePastRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  app.get<{ Params: { queue: string }; Querystring: Query }>(
    '/v1/queues/:queue/past',
    {
      schema: {
        operationId: 'getQueueAt',
        tags,
        summary: 'How many jobs were in which state at an earlier moment',
        params: params('queue'),
        querystring: { type: 'object', additionalProperties: false, properties: moment },
        response: { 200: counts, ...problems },
      },
    },
    async ({ caller, params: { queue }, query }) => {
      const request = pb.GetQueueAtRequest.create({ queue, ...momentOf(query) });
      return await fabric.history.getQueueAt(caller, request);
    },
  );

  app.get<{ Params: { queue: string }; Querystring: ListQuery }>(
    '/v1/queues/:queue/past/jobs',
    {
      schema: {
        operationId: 'listJobsAt',
        tags,
        summary: 'A page of the jobs that were in the queue at an earlier moment',
        params: params('queue'),
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            ...moment,
            state: text('Only jobs in this state; unset: all that were not finished'),
            cursor: text('Of the last page; it holds the moment as well'),
            limit: count('Jobs of one page at most', { maximum: 1000 }),
          },
        },
        response: { 200: jobs, ...problems },
      },
    },
    async ({ caller, params: { queue }, query }) => {
      const { state, cursor, limit } = query;
      const at = cursor === undefined ? momentOf(query) : {};
      const request = pb.ListJobsAtRequest.create({ queue, ...at, state, cursor, limit });
      const page = await fabric.history.listJobsAt(caller, request);
      return {
        jobs: (page.jobs ?? []).map(jobFields),
        cursor: page.cursor || null,
        position: page.position ?? 0,
      };
    },
  );
}

function momentOf({ asOfTimeMs, asOfPosition }: Query): { timeMs?: number; position?: number } {
  if ((asOfTimeMs === undefined) === (asOfPosition === undefined))
    throw new FlowError('INVALID_ARGUMENT', 'give asOfTimeMs or asOfPosition');
  return asOfTimeMs === undefined ? { position: asOfPosition as number } : { timeMs: asOfTimeMs };
}

const jobFields = (job: pb.JobInput) => ({
  id: job.id,
  state: job.state,
  priority: job.priority ?? 0,
  ...keyFields(job.key),
  enqueuedAtMs: job.enqueuedAtMs ?? 0,
  ...(job.contentType ? contentFields('payload', job.payload, job.contentType) : {}),
});
