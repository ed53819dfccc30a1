// /v1/flows and /v1/queues/{queue}/jobs/{id}/children: trees of jobs.
//   F1. A tree is walked without recursion, and each node is validated on its own: depth costs no stack.
import { FlowError } from '@flowmesh/protocol';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { durabilityFields, messageFields } from './content.ts';
import * as schema from './job-schemas.ts';
import { type JobBody, newJob, resultFields } from './jobs.ts';
import { mutationOf } from './request.ts';
import { idempotencyHeaders, params, problems } from './schemas.ts';
import type { HttpContext } from './server.ts';

interface NodeBody extends JobBody {
  queue: string;
  name?: string;
  onFailure?: string;
  children?: NodeBody[];
}

const NODES_MAX = 1000;
const tags = ['flows'];

/** In pre-order. */
function nodesOf(root: NodeBody, request: FastifyRequest): pb.FlowNode[] {
  const nodes: pb.FlowNode[] = [];
  const validate = request.compileValidationSchema(schema.flowNode, 'body') as (body: unknown) => unknown;
  const stack = [{ body: root, parent: 0 }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { body, parent } = next;
    if (nodes.length >= NODES_MAX)
      throw new FlowError('FLOW_TOO_LARGE', `a flow has at most ${NODES_MAX} jobs`);
    // What the compiler of schemas.ts makes answers true, or the refusal.
    const verdict = validate(body) as true | { error: FlowError };
    if (verdict !== true)
      throw new FlowError(verdict.error.code, `node ${nodes.length}: ${verdict.error.message}`);
    const { queue, name = '', onFailure = '', children = [], ...job } = body;
    const at = nodes.push(
      pb.FlowNode.create({ queue, name, onFailure, parent, job: newJob(job, request.caller.traceparent) }),
    );
    for (let i = children.length - 1; i >= 0; i--)
      stack.push({ body: children[i] as NodeBody, parent: at - 1 });
  }
  return nodes;
}

export function addFlowRoutes(app: FastifyInstance, { fabric }: HttpContext): void {
  app.post<{ Body: NodeBody }>(
    '/v1/flows',
    {
      schema: {
        operationId: 'enqueueFlow',
        tags,
        summary: 'Enqueue a tree of jobs, all or nothing: each waits for its children',
        headers: idempotencyHeaders,
        body: schema.flowNode,
        response: { 201: schema.flowEnqueued, ...problems },
      },
    },
    async (request, reply) => {
      const nodes = nodesOf(request.body, request);
      const message = pb.EnqueueFlowRequest.create({ nodes, mutation: mutationOf(request) });
      const { jobs = [], durability } = await fabric.queues.enqueueFlow(request.caller, message);
      reply.code(201);
      return {
        jobs: (jobs ?? []).map(({ id }, i) => ({
          id: id ?? '',
          queue: nodes[i]?.queue,
          ...(nodes[i]?.name ? { name: nodes[i].name } : {}),
        })),
        ...(jobs?.[0]?.deduplicated ? { deduplicated: true } : {}),
        ...durabilityFields(durability),
      };
    },
  );

  app.get<{ Params: { queue: string; id: string }; Querystring: { limit?: number; cursor?: string } }>(
    '/v1/queues/:queue/jobs/:id/children',
    {
      schema: {
        operationId: 'listChildren',
        tags,
        summary: 'The children of a job: how far they are, and their results',
        params: params('queue', 'id'),
        querystring: schema.childrenQuery,
        response: { 200: schema.childList, ...problems },
      },
    },
    async ({ caller, params: of, query }) => {
      const message = pb.ListChildrenRequest.create({ ...of, ...query });
      const { children, counts, cursor } = await fabric.queues.listChildren(caller, message);
      return {
        children: (children ?? []).map(({ result, resultContentType, ...child }) => ({
          ...child,
          ...(resultContentType ? resultFields(result, resultContentType) : {}),
        })),
        counts: messageFields(pb.ChildCounts, counts ?? {}),
        cursor: cursor || null,
      };
    },
  );
}
