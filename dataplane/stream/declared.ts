// The streams of a shard as the change feed sees them: those whose home it is.
import type { Declared, DeclaredThings } from '../admin/declared.ts';
import type { StreamCell } from './cells.ts';
import type { Place } from './declare.ts';
import { placementOf } from './placement.ts';
import type { StreamState } from './state.ts';

export function declaredStreams(state: StreamState, place: Place): DeclaredThings {
  const isHome = (name: string) => placementOf(name, place.shards).home === place.shard;
  const declared = ({ cell }: StreamCell): Declared => cell.value;
  return {
    kind: 'stream',
    *all(tenant) {
      for (const stream of state.tenants.get(tenant)?.values() ?? [])
        if (isHome(stream.cell.value.name)) yield declared(stream);
    },
    find(tenant, name) {
      const stream = state.find(tenant, name);
      return stream && declared(stream);
    },
    get deletedAt() {
      return state.nextNumbers().deletedAt;
    },
    follow(tell) {
      state.onChange = (change, tenant, name, position) => {
        if (isHome(name)) tell(change, tenant, name, position);
      };
    },
  };
}
