// What an event of the kv view is as the effect of a message.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Event } from '../shard/state-machine.ts';
import { fromByteString, readPart } from '../storage/keys.ts';
import { changedKey, changesOf } from './changes.ts';
import { keyspaceEnd } from './tables.ts';

export function* kvEffects(event: Event, timeMs: number, withValues: boolean): Generator<pb.EffectInput> {
  const key = changedKey(event);
  if (key === undefined) return;
  const end = keyspaceEnd(key);
  const selection = { keyspace: key.slice(0, end), prefix: '', isExact: false };
  // What expired before it was written over is not the doing of whoever wrote.
  const change = changesOf(event, selection, timeMs).at(-1);
  if (change === undefined) return;
  if (!withValues) {
    delete change.value;
    for (const member of change.members ?? []) delete member.value;
  }
  const keyspace = fromByteString(readPart(key, 5).bytes).toString();
  yield { kind: change.reason ?? '', keyspace, change };
}
