// Real benches for reads of earlier states, closed after the test, and how such a read is asked for.
import { type KvAsOfInput, type KvOpInput, KvRequest, KvResponse } from '@flowmesh/protocol/gen/flowmesh.js';
import { afterEach } from 'vitest';
import { openRealBench, type RealBench } from './real-bench.ts';
import { caller } from './support.ts';

const opened: RealBench[] = [];
afterEach(async () => {
  for (const bench of opened.splice(0)) await bench.close();
});

export async function aBench(shards = 1, ...more: [object?]): Promise<RealBench> {
  const bench = await openRealBench(shards, ...more);
  opened.push(bench);
  return bench;
}

/** As over the wire. */
export async function asOf(
  bench: RealBench,
  moment: KvAsOfInput,
  ops: readonly KvOpInput[],
): Promise<KvResponse> {
  const request = KvRequest.decode(KvRequest.encode({ ops, asOf: moment }).finish());
  const response = await bench.service.execute(caller(), request);
  return KvResponse.decode(KvResponse.encode(response).finish());
}
