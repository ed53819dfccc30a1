// /v1/queues/{queue}/jobs and /lease: enqueue, lease, settle, look.
//   J1. A lease is granted only to a request that is still open; what cannot be written is released,
//       uncounted.
//   J2. An ack repeated with the settling epoch answers 200: its first answer may be lost on the way.
import { FlowError, isErrorCode } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Caller } from '../../shard/state-machine.ts';
import { plainAddress } from '../address.ts';
import { closing } from '../refusals.ts';
import {
  contentFields,
  durabilityFields,
  envelopeFields,
  type HeaderBody,
  headerFields,
  jsonBytes,
  keyFields,
  messageFields,
  readContent,
  readEnvelope,
  readHeaders,
  readKey,
} from './content.ts';
import * as schema from './job-schemas.ts';
import { ifUnwritten, mutationOf, presenceOf } from './request.ts';
import { idempotencyHeaders, open, params, problems } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface QueueParams {
  queue: string;
}

interface JobParams extends QueueParams {
  id: string;
}

export interface JobBody extends HeaderBody {
  delayMs?: number;
  priority?: number;
  dedupKey?: string;
  dedupMode?: string;
  dedupWindowMs?: number;
  timeoutMs?: number;
  envelope?: pb.EnvelopeInput;
  [field: string]: unknown;
}

interface LeaseBody {
  max?: number;
  waitMs?: number;
  visibilityMs?: number;
  worker?: string;
}

const tags = ['jobs'];

export function addJobRoutes(app: FastifyInstance, context: HttpContext): void {
  addEnqueue(app, context);
  addLease(app, context);
  addSettlements(app, context);
  addReport(app, context);
  addCancel(app, context);
  addViews(app, context);
}

export function newJob(body: JobBody, traceparent: string | undefined): pb.NewJob {
  const { bytes, contentType } = readContent(body, 'payload');
  return pb.NewJob.create({
    payload: bytes,
    contentType,
    key: readKey(body),
    limitKey: readKey(body, 'limitKey'),
    delayMs: body.delayMs,
    priority: body.priority,
    dedupKey: body.dedupKey,
    dedupMode: body.dedupMode,
    dedupWindowMs: body.dedupWindowMs,
    timeoutMs: body.timeoutMs,
    headers: readHeaders(body),
    envelope: readEnvelope(body.envelope, traceparent),
  });
}

function addEnqueue(app: FastifyInstance, { fabric }: HttpContext): void {
  app.post<{ Params: QueueParams; Body: JobBody }>(
    '/v1/queues/:queue/jobs',
    {
      schema: {
        operationId: 'enqueueJob',
        tags,
        summary: 'Enqueue a job',
        params: params('queue'),
        headers: idempotencyHeaders,
        body: schema.newJob,
        response: { 201: schema.enqueued, ...problems },
      },
    },
    async (request, reply) => {
      const message = pb.EnqueueRequest.create({
        queue: request.params.queue,
        jobs: [newJob(request.body, request.caller.traceparent)],
        mutation: mutationOf(request),
      });
      const { jobs, durability } = await fabric.queues.enqueue(request.caller, message);
      const [job] = jobs ?? [];
      reply.code(201);
      return {
        id: job?.id ?? '',
        ...(job?.deduplicated ? { deduplicated: true } : {}),
        ...(job?.replacedId ? { replacedId: job.replacedId } : {}),
        ...durabilityFields(durability),
      };
    },
  );
}

function leasedFields(job: pb.LeasedJobInput) {
  return {
    id: job.id,
    leaseEpoch: job.leaseEpoch ?? 0,
    attempt: job.attempt ?? 0,
    ...contentFields('payload', job.payload, job.contentType),
    ...keyFields(job.key),
    ...headerFields(job.headers),
    ...envelopeFields(job.envelope),
    enqueuedAtMs: job.enqueuedAtMs ?? 0,
    deadlineMs: job.deadlineMs ?? 0,
  };
}

function addLease(app: FastifyInstance, { fabric, drains }: HttpContext): void {
  const { queues } = fabric;
  app.post<{ Params: QueueParams; Body?: LeaseBody }>(
    '/v1/queues/:queue/lease',
    {
      schema: {
        operationId: 'leaseJobs',
        tags,
        summary: 'Take jobs, waiting for one for up to waitMs',
        params: params('queue'),
        body: schema.lease,
        response: { 200: schema.leased, ...problems },
      },
    },
    async (request, reply) => {
      const { caller, params, body, socket } = request;
      const address = plainAddress(socket.remoteAddress);
      const message = pb.LeaseRequest.create({ max: 1, ...body, queue: params.queue });
      const { signal, leave } = presenceOf(reply, drains);
      try {
        const response = await queues.lease(caller, message, signal, address).catch((error: unknown) => {
          throw signal.aborted ? closing() : error;
        });
        const jobs = response.jobs ?? [];
        const release = () => queues.releaseUndelivered(caller, params.queue, jobs);
        if (signal.aborted) {
          release();
          throw closing();
        }
        if (jobs.length > 0) ifUnwritten(reply, release);
        return { jobs: jobs.map(leasedFields) };
      } finally {
        leave();
      }
    },
  );
}

function addSettlements(app: FastifyInstance, { fabric }: HttpContext): void {
  const { queues } = fabric;
  async function settle(request: FastifyRequest, settlement: pb.SettlementInput, queue: string) {
    const message = pb.SettleRequest.create({
      queue,
      settlements: [pb.Settlement.create(settlement)],
      mutation: mutationOf(request),
    });
    const { results, durability } = await queues.settle(request.caller, message);
    const [result] = results ?? [];
    if (result?.code && !(await isRepeat(request.caller, settlement, queue))) throw refusal(result);
    return durabilityFields(durability);
  }

  /**
   * J2. Asked only about a job that is finished: the history is read from the journal, which takes a while.
   */
  async function isRepeat(caller: Caller, { id, leaseEpoch, ack }: pb.SettlementInput, queue: string) {
    if (!ack) return false;
    const which = pb.GetJobRequest.create({ queue, id });
    const job = await queues.getJob(caller, which).catch(() => undefined);
    if (job?.state !== 'completed') return false;
    const { transitions } = await queues.jobHistory(caller, which);
    return (transitions ?? []).some((each) => each.kind === 'acked' && each.leaseEpoch === leaseEpoch);
  }

  const route = (verb: string, summary: string, body: object) => ({
    schema: {
      operationId: `${verb}Job`,
      tags,
      summary,
      params: params('queue', 'id'),
      headers: idempotencyHeaders,
      body,
      response: { 200: schema.settled, ...problems },
    },
  });

  app.post<{ Params: JobParams; Body: { leaseEpoch: number; result?: unknown } }>(
    '/v1/queues/:queue/jobs/:id/ack',
    route('ack', 'The job is done', schema.ack),
    async (request) => {
      const { id, queue } = request.params;
      const { leaseEpoch, ...body } = request.body;
      const ack = pb.Ack.create();
      if (Object.hasOwn(body, 'result')) {
        ack.result = jsonBytes(body.result);
        ack.resultContentType = 'application/json';
      }
      return settle(request, { id, leaseEpoch, ack }, queue);
    },
  );

  app.post<{ Params: JobParams; Body: { leaseEpoch: number } & pb.NackInput }>(
    '/v1/queues/:queue/jobs/:id/nack',
    route('nack', 'The job failed, or is given back', schema.nack),
    async (request) => {
      const { id, queue } = request.params;
      const { leaseEpoch, ...nack } = request.body;
      return settle(request, { id, leaseEpoch, nack: pb.Nack.create(nack) }, queue);
    },
  );

  app.post<{ Params: JobParams; Body: { leaseEpoch: number; visibilityMs: number } }>(
    '/v1/queues/:queue/jobs/:id/extend',
    route('extend', 'Keep the lease until this long from now', schema.extend),
    async (request) => {
      const { id, queue } = request.params;
      const { leaseEpoch, visibilityMs } = request.body;
      return settle(request, { id, leaseEpoch, extend: pb.Extend.create({ visibilityMs }) }, queue);
    },
  );
}

function addReport(app: FastifyInstance, { fabric }: HttpContext): void {
  app.post<{ Params: JobParams; Body: { leaseEpoch: number; progress?: unknown; log?: string[] } }>(
    '/v1/queues/:queue/jobs/:id/report',
    {
      schema: {
        operationId: 'reportJob',
        tags,
        summary: 'Say how far a held job is, and what is worth noting',
        params: params('queue', 'id'),
        headers: idempotencyHeaders,
        body: schema.report,
        response: { 200: open({}), ...problems },
      },
    },
    async (request) => {
      const { leaseEpoch, log, ...body } = request.body;
      const progress = Object.hasOwn(body, 'progress') ? jsonBytes(body.progress).toString() : '';
      const mutation = mutationOf(request);
      const message = pb.ReportRequest.create({ ...request.params, leaseEpoch, progress, log, mutation });
      return fabric.queues.report(request.caller, message);
    },
  );
}

function addCancel(app: FastifyInstance, { fabric }: HttpContext): void {
  app.delete<{ Params: JobParams; Querystring: { reason?: string } }>(
    '/v1/queues/:queue/jobs/:id',
    {
      schema: {
        operationId: 'cancelJob',
        tags,
        summary: 'Cancel a job, waiting or held; who holds it loses the lease',
        params: params('queue', 'id'),
        querystring: schema.cancelQuery,
        headers: idempotencyHeaders,
        response: { 200: schema.cancelled, ...problems },
      },
    },
    async (request) => {
      const mutation = mutationOf(request);
      const message = pb.CancelJobRequest.create({ ...request.params, ...request.query, mutation });
      const { cancelled = false, state = '' } = await fabric.queues.cancelJob(request.caller, message);
      return { cancelled, state };
    },
  );
}

function refusal({ code, message, retryAfterMs }: pb.ErrorInput): FlowError {
  const options = retryAfterMs ? { retryAfterMs } : {};
  return new FlowError(code && isErrorCode(code) ? code : 'INTERNAL', message ?? '', options);
}

export function resultFields(result: pb.JobInput['result'], type: string) {
  const { contentType, ...fields } = contentFields('result', result, type);
  return { ...fields, resultContentType: contentType };
}

function jobFields(job: pb.JobInput) {
  const { payload, contentType, key, limitKey, headers, envelope, result, resultContentType, ...rest } = job;
  const {
    payload: _p,
    contentType: _c,
    key: _k,
    limitKey: _l,
    headers: _h,
    envelope: _e,
    result: _r,
    resultContentType: _t,
    progress,
    ...plain
  } = messageFields(pb.Job, { ...rest, counters: rest.counters ?? {} });
  return {
    ...plain,
    ...(progress === '' ? {} : { progress: JSON.parse(String(progress)) }),
    ...(resultContentType ? resultFields(result, resultContentType) : {}),
    ...contentFields('payload', payload, contentType),
    ...keyFields(key),
    ...keyFields(limitKey, 'limitKey'),
    ...headerFields(headers),
    ...envelopeFields(envelope),
  };
}

function addViews(app: FastifyInstance, { fabric }: HttpContext): void {
  const { queues } = fabric;
  app.get<{ Params: QueueParams; Querystring: { state?: string; limit?: number; cursor?: string } }>(
    '/v1/queues/:queue/jobs',
    {
      schema: {
        operationId: 'listJobs',
        tags,
        summary: 'Jobs of a queue, by state',
        params: params('queue'),
        querystring: schema.listQuery,
        response: { 200: schema.jobList, ...problems },
      },
    },
    async ({ caller, params, query }) => {
      const request = pb.ListJobsRequest.create({ ...query, queue: params.queue });
      const { jobs, cursor } = await queues.listJobs(caller, request);
      return { jobs: (jobs ?? []).map(jobFields), cursor: cursor || null };
    },
  );

  app.get<{ Params: JobParams }>(
    '/v1/queues/:queue/jobs/:id',
    {
      schema: {
        operationId: 'getJob',
        tags,
        summary: 'One job: its state, and why',
        params: params('queue', 'id'),
        response: { 200: schema.job, ...problems },
      },
    },
    async ({ caller, params }) => jobFields(await queues.getJob(caller, pb.GetJobRequest.create(params))),
  );

  app.get<{ Params: JobParams }>(
    '/v1/queues/:queue/jobs/:id/history',
    {
      schema: {
        operationId: 'jobHistory',
        tags,
        summary: 'Every transition of a job that is still kept, oldest first',
        params: params('queue', 'id'),
        response: { 200: schema.history, ...problems },
      },
    },
    async ({ caller, params }) => {
      const answer = await queues.jobHistory(caller, pb.GetJobRequest.create(params));
      return messageFields(pb.JobHistoryResponse, answer);
    },
  );
}
