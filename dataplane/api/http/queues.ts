// /v1/queues: declare, look, pause, purge, redrive. Jobs have their own file.
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance } from 'fastify';
import { contentFields, messageFields, readContent } from './content.ts';
import { ownership } from './figures.ts';
import { mutationOf } from './request.ts';
import {
  anyJson,
  closed,
  count,
  flag,
  idempotencyHeaders,
  list,
  open,
  params,
  problems,
  scaling,
  schemaRef,
  speed,
  text,
} from './schemas.ts';
import type { HttpContext } from './server.ts';

interface QueueParams {
  queue: string;
}

const rate = closed({
  count: count('Jobs that may start', { minimum: 1 }),
  periodMs: count('Within this time', { minimum: 1 }),
});

const schedule = closed(
  {
    name: text('Unique within the queue'),
    cron: text('Minute, hour, day of month, month, day of week'),
    timeZone: text('IANA name; default UTC'),
    payload: anyJson('Any JSON'),
    payloadBase64: text('Any other bytes, in Base64'),
    contentType: text('Content type of payloadBase64'),
    overlap: text('What becomes of a tick while the job before it is not finished', {
      enum: ['skip', 'buffer_one', 'allow'],
    }),
    catchUpMs: count('Missed ticks that are not older than this are made up for; default 5 minutes'),
  },
  ['name', 'cron'],
);

const spec = {
  visibilityTimeoutMs: count('How long a lease lasts'),
  maxAttempts: count('Failed and timed out attempts before a job is dead'),
  maxDeliveries: count('Deliveries whose handler may have started before a job is dead'),
  backoff: closed({
    type: text('exponential or fixed', { enum: ['exponential', 'fixed'] }),
    initialMs: count('Pause before the second attempt'),
    maxMs: count('Longest pause'),
    jitter: text('full or none', { enum: ['full', 'none'] }),
  }),
  deadLetterQueue: text('Where dead jobs go; default: <name>.dead'),
  deduplicationWindowMs: count('How long a dedupKey is remembered'),
  maxDepth: count('Most jobs that may wait; 0: no limit'),
  retentionMs: count('How long finished jobs stay readable'),
  retentionBytes: count('How many bytes of finished jobs stay readable'),
  timeoutMs: count('How long one attempt may run'),
  limits: closed({
    ratePerKey: rate,
    concurrencyPerKey: count('Jobs of one limit key that may be leased at the same time'),
    rate,
    concurrency: count('Jobs that may be leased at the same time'),
  }),
  fair: flag('Limit keys with waiting jobs take turns'),
  priorityAgingMs: count('A ready job gains one priority each time that this passes; 0: strict priorities'),
  schedules: list(schedule, { maxItems: 100 }),
  onFull: text('At maxDepth: reject answers QUEUE_FULL, block waits for room', { enum: ['reject', 'block'] }),
  schemaRef: { ...schemaRef, description: 'What payloads must match' },
  scaling: { ...scaling, description: 'Between which numbers workers are scaled, and on what' },
  failedHead: text('A failed job with a key: block tries it again before the others, skip buries it', {
    enum: ['block', 'skip'],
  }),
};

type SpecBody = Pick<pb.QueueSpecInput, Exclude<keyof typeof spec, 'schedules'>> & {
  schedules?: Record<string, unknown>[];
};

const figures = Object.fromEntries(
  ['waiting', 'delayed', 'blocked', 'leased', 'enqueuedTotal', 'completedTotal', 'failedTotal', 'deadTotal']
    .concat('oldestReadyAtMs', 'workers', 'cancelledTotal', 'waitingChildren')
    .map((name) => [name, { type: 'integer' }]),
);

const queueSchema = open({
  spec: open({
    name: text('Name'),
    ...spec,
    backoff: { type: ['object', 'null'] },
    limits: { type: ['object', 'null'] },
    schemaRef: { type: ['object', 'null'] },
    scaling: { type: ['object', 'null'] },
    schedules: list(open({})),
  }),
  schedules: list(
    open({
      name: text('Of the schedule'),
      nextMs: count('The next tick; 0: none'),
      firedMs: count('The last tick that made a job'),
      jobId: text('That job'),
      bufferedMs: count('A tick that waits for the job before it; 0: none'),
      skippedTotal: count('Ticks without a job because the one before was not finished'),
    }),
  ),
  paused: flag('Nothing is delivered while it is paused'),
  draining: flag('New jobs are refused while it drains'),
  figures: open({ ...figures, ...speed }),
  shard: count('Where it lives'),
  createdAtMs: count('When it was created'),
  ...ownership,
});

function queueFields(queue: pb.QueueInput) {
  const schedules = (queue.spec?.schedules ?? []).map(({ payload, contentType, ...schedule }) => ({
    ...schedule,
    ...contentFields('payload', payload, contentType),
  }));
  const fields = messageFields(pb.Queue, {
    ...queue,
    figures: queue.figures ?? {},
    spec: withoutMutation(queue.spec),
  });
  return { ...fields, spec: { ...(fields['spec'] as object), schedules } };
}

function newSchedule(body: Record<string, unknown>): pb.Schedule {
  const hasPayload = body['payload'] !== undefined || body['payloadBase64'] !== undefined;
  const content = hasPayload ? readContent(body, 'payload') : undefined;
  const { payload: _p, payloadBase64: _b, contentType: _c, ...rest } = body;
  return pb.Schedule.create({ ...rest, payload: content?.bytes, contentType: content?.contentType });
}

function withoutMutation(spec: pb.QueueSpecInput | null | undefined): pb.QueueSpecInput {
  const { mutation: _, ...rest } = spec ?? {};
  return rest;
}

export function addQueueRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  const { admin, queues } = fabric;
  const tags = ['queues'];

  app.get(
    '/v1/queues',
    {
      schema: {
        operationId: 'listQueues',
        tags,
        summary: 'All queues with their figures',
        response: { 200: open({ queues: list(queueSchema) }), ...problems },
      },
    },
    async ({ caller }) => {
      const answer = await admin.listQueues(caller);
      return { queues: (answer.queues ?? []).map(queueFields) };
    },
  );

  app.put<{ Params: QueueParams; Body?: SpecBody }>(
    '/v1/queues/:queue',
    {
      schema: {
        operationId: 'declareQueue',
        tags,
        summary: 'Create the queue or change its settings',
        params: params('queue'),
        headers: idempotencyHeaders,
        body: closed(spec),
        response: { 200: queueSchema, ...problems },
      },
    },
    async (request) => {
      const { backoff, limits, schedules, schemaRef, scaling: scaled, ...body } = request.body ?? {};
      const message = pb.QueueSpec.create({
        ...body,
        name: request.params.queue,
        backoff: backoff ? pb.Backoff.create(backoff) : null,
        schemaRef: schemaRef ? pb.SchemaRef.create(schemaRef) : null,
        scaling: scaled ? pb.Scaling.create(scaled) : null,
        limits: limits ? pb.QueueLimits.create(limits) : null,
        schedules: (schedules ?? []).map(newSchedule),
        mutation: mutationOf(request),
      });
      return queueFields(await admin.applyQueue(request.caller, message));
    },
  );

  app.get<{ Params: QueueParams }>(
    '/v1/queues/:queue',
    {
      schema: {
        operationId: 'getQueue',
        tags,
        summary: 'One queue with its figures',
        params: params('queue'),
        response: { 200: queueSchema, ...problems },
      },
    },
    async ({ caller, params }) => {
      const request = pb.GetQueueRequest.create({ name: params.queue });
      return queueFields(await admin.getQueue(caller, request));
    },
  );

  for (const paused of [true, false]) {
    const verb = paused ? 'pause' : 'resume';
    app.post<{ Params: QueueParams }>(
      `/v1/queues/:queue/${verb}`,
      {
        schema: {
          operationId: `${verb}Queue`,
          tags,
          summary: paused ? 'Deliver nothing until it is resumed' : 'Deliver again',
          params: params('queue'),
          headers: idempotencyHeaders,
          body: closed({}),
          response: { 200: open({ paused: flag('The new state') }), ...problems },
        },
      },
      async (request) => {
        const { queue } = request.params;
        const message = pb.SetPausedRequest.create({ queue, paused, mutation: mutationOf(request) });
        await queues.setPaused(request.caller, message);
        return { paused };
      },
    );
  }

  app.post<{ Params: QueueParams }>(
    '/v1/queues/:queue/purge',
    {
      schema: {
        operationId: 'purgeQueue',
        tags,
        summary: 'Delete all jobs that nobody holds',
        params: params('queue'),
        headers: idempotencyHeaders,
        body: closed({}),
        response: { 200: open({ purged: count('Jobs deleted') }), ...problems },
      },
    },
    async (request) => {
      const { queue } = request.params;
      const message = pb.PurgeRequest.create({ queue, mutation: mutationOf(request) });
      const { purged } = await queues.purge(request.caller, message);
      return { purged: purged ?? 0 };
    },
  );

  app.post<{ Params: QueueParams; Body?: { max?: number; targetQueue?: string } }>(
    '/v1/queues/:queue/redrive',
    {
      schema: {
        operationId: 'redriveQueue',
        tags,
        summary: 'Move dead jobs back to where they came from, oldest first',
        params: params('queue'),
        headers: idempotencyHeaders,
        body: closed({
          max: count('At most this many; unset: 1,000, the most that one call moves'),
          targetQueue: text('Another queue than the one each job came from'),
        }),
        response: {
          200: open({ moved: count('Jobs moved'), remaining: count('Dead jobs that are left') }),
          ...problems,
        },
      },
    },
    async (request) => {
      const { queue } = request.params;
      const message = pb.RedriveRequest.create({ ...request.body, queue, mutation: mutationOf(request) });
      const { moved, remaining } = await queues.redrive(request.caller, message);
      return { moved: moved ?? 0, remaining: remaining ?? 0 };
    },
  );
}
