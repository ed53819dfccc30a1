// The admin API as the place where declarations go.
import type { Api } from './client.ts';
import type { Declarations } from './reconcile.ts';

export const declarationsOf = (api: Api): Declarations => ({
  listQueues: async () => (await api.listQueues({})).queues,
  listSchemas: async () => (await api.listSchemas({})).schemas,
  getSchema: (name) => api.getSchema({ name }),
  listStreams: async () => (await api.listStreams({})).streams,
  applyQueue: (spec) => api.applyQueue({ ...spec, mutation: api.mutation() }),
  applySchema: (spec) => api.applySchema({ ...spec, mutation: api.mutation() }),
  applyStream: (spec) => api.applyStream({ ...spec, mutation: api.mutation() }),
});
