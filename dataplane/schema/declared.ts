// The schemas of a shard as the change feed sees them: those whose home it is.
import { shardOf } from '@flowmesh/protocol';
import type { DeclaredThings } from '../admin/declared.ts';
import type { SchemaState } from './state.ts';

export function declaredSchemas(
  state: SchemaState,
  place: { readonly shard: number; readonly shards: number },
): DeclaredThings {
  const isHome = (name: string) => shardOf(name, place.shards) === place.shard;
  return {
    kind: 'schema',
    *all(tenant) {
      for (const row of state.all(tenant)) if (isHome(row.name)) yield row;
    },
    find(tenant, name) {
      return isHome(name) ? state.find(tenant, name) : undefined;
    },
    get deletedAt() {
      return state.deletedAt;
    },
    follow(tell) {
      state.onChange = (change, tenant, name, position) => {
        if (isHome(name)) tell(change, tenant, name, position);
      };
    },
  };
}
