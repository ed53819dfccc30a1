// Job ids: `<shard>-<queue number>-<offset>` in base 36, so that an id says where its job lives.
import { FlowError } from '@flowmesh/protocol';

export interface JobPlace {
  readonly shard: number;
  readonly queueNo: number;
  readonly offset: number;
}

const ID = /^([0-9a-z]{1,4})-([0-9a-z]{1,7})-([0-9a-z]{1,10})$/;

export function parseJobId(id: string): JobPlace {
  const match = ID.exec(id);
  if (match === null)
    throw new FlowError('JOB_NOT_FOUND', `${JSON.stringify(id.slice(0, 60))} is not a job id`);
  const [shard, queueNo, offset] = match.slice(1).map((digits) => Number.parseInt(digits, 36));
  return { shard: shard ?? 0, queueNo: queueNo ?? 0, offset: offset ?? 0 };
}
