// The admin API as the place where declarations go.
import type { Api } from './client.ts';
import type { Declarations } from './reconcile.ts';

export const declarationsOf = (api: Api): Declarations => ({
  listQueues: async () => (await api.listQueues({})).queues,
  listStreams: async () => (await api.listStreams({})).streams,
  applyQueue: (spec) => api.applyQueue({ ...spec, mutation: api.mutation() }),
  applyStream: (spec) => api.applyStream({ ...spec, mutation: api.mutation() }),
});
