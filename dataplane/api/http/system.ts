// Probes, metrics and the API description.
import { FlowError } from '@flowmesh/protocol';
import type { FastifyInstance } from 'fastify';
import type { FabricState } from '../../services.ts';
import { open, problems, text } from './schemas.ts';
import type { HttpContext } from './server.ts';

const UNREADY: Partial<Record<FabricState, string>> = {
  starting: 'starting: the journal is being replayed',
  draining: 'draining: no new work is taken',
  failed: 'failed: see the log of the server',
};

const tags = ['system'];

export function addSystemRoutes(app: FastifyInstance, context: HttpContext): void {
  const { fabric, metrics } = context;
  const status = open({ status: text('State in one word'), reason: text('Why') }, ['status']);

  app.get(
    '/healthz',
    {
      schema: {
        operationId: 'health',
        tags,
        summary: 'Whether the process is worth keeping',
        response: { 200: status, ...problems },
      },
    },
    async () => {
      if (fabric.state() === 'failed') throw new FlowError('UNAVAILABLE', UNREADY.failed ?? '');
      return { status: 'ok' };
    },
  );

  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'readiness',
        tags,
        summary: 'Whether requests should be sent here',
        response: { 200: status, ...problems },
      },
    },
    async () => {
      const state = context.isClosing() ? 'draining' : fabric.state();
      const reason = UNREADY[state];
      if (reason !== undefined) throw new FlowError('UNAVAILABLE', reason, { retryAfterMs: 1000 });
      if (state === 'serving') return { status: 'ready' };
      return { status: 'degraded', reason: `${state}: new data is refused; reads, acks and deletes go on` };
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'metrics',
        tags,
        summary: 'Figures in the Prometheus text format',
        response: {
          200: { description: 'Figures', content: { 'text/plain': { schema: { type: 'string' } } } },
          ...problems,
        },
      },
    },
    async (_request, reply) => reply.header('content-type', metrics.contentType).send(await metrics.text()),
  );

  app.get(
    '/openapi.json',
    { schema: { operationId: 'openapi', tags, summary: 'This description', response: problems } },
    async () => app.swagger(),
  );
}
