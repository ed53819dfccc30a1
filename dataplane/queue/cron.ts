// Cron expressions that a queue is asked to keep; what they mean is in crds/cron.ts, as manifests are checked
// by the same.
import { FlowError } from '@flowmesh/protocol';
import { cronProblem } from '../../crds/cron.ts';

export { nextTickMs } from '../../crds/cron.ts';

/** Throws INVALID_ARGUMENT unless there is a tick to come. */
export function checkCron(cron: string, timeZone: string): void {
  const problem = cronProblem(cron, timeZone);
  if (problem === undefined) return;
  const what = `cron ${JSON.stringify(cron.slice(0, 128))} in ${JSON.stringify(timeZone.slice(0, 64))}`;
  throw new FlowError('INVALID_ARGUMENT', `${what}: ${problem}`);
}
