// The queues of a shard as the change feed sees them.
import type { DeclaredThings } from '../admin/declared.ts';
import type { QueueState } from './evolve.ts';

export const declaredQueues = (state: QueueState): DeclaredThings => ({
  kind: 'queue',
  *all(tenant) {
    for (const cell of state.byName.values()) if (cell.tenant === tenant) yield cell;
  },
  find: (tenant, name) => state.cell(tenant, name),
  get deletedAt() {
    return state.deletedAt;
  },
  follow(tell) {
    state.onChange = tell;
  },
});
