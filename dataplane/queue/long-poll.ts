// A lease request: waits in line for one grant, as long as it said and while somebody is there for it.
//   L1. It is answered once. What is granted afterwards goes back uncounted.
//   L2. An empty answer means that no job was ready, not that one was being read from the disk.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Runtime } from '../runtime.ts';
import type { Caller } from '../shard/state-machine.ts';
import { type QueueCell, VISIBILITY_MS_MAX } from './cell.ts';
import type { Waiter } from './dispatch.ts';
import { leasedJobs } from './messages.ts';
import type { QueueView } from './view.ts';

const LEASE_MAX = 1000;
const LEASE_WAIT_MS_MAX = 60_000;
/** How long a poll that does not wait gets for its turn, and how many of those for a read of the disk. */
const TURN_MS = 20;
const READ_TURNS_MAX = 100;

export interface Poll {
  readonly view: QueueView;
  readonly cell: QueueCell;
  readonly runtime: Runtime;
  readonly request: pb.LeaseRequest;
  /** Who asks and where from, if the request names no worker. */
  readonly caller: Pick<Caller, 'identity'>;
  readonly address: string;
  /** Nobody is there any more. */
  readonly signal: AbortSignal;
  /** Gives back what was granted too late. */
  readonly release: (jobs: readonly pb.LeasedJobInput[]) => void;
}

export function longPoll(poll: Poll): Promise<pb.LeaseResponseInput> {
  const { view, cell, runtime, request, caller, address, signal, release } = poll;
  const max = Math.min(LEASE_MAX, request.max || 1);
  const prefix = view.idPrefix(cell);
  return new Promise((resolve) => {
    let cancelTimer = () => {};
    let isOver = false;
    const finish = (jobs: pb.LeasedJobInput[]) => {
      if (isOver) return;
      isOver = true;
      cancelTimer();
      signal.removeEventListener('abort', giveUp);
      view.removeWaiter(cell, waiter);
      resolve({ jobs });
    };
    const giveUp = () => finish([]);
    const waiter: Waiter = {
      sessionId: '',
      worker: request.worker || (address === '' ? caller.identity : `${caller.identity}@${address}`),
      visibilityMs: Math.min(request.visibilityMs, VISIBILITY_MS_MAX),
      credits: max,
      isOnce: true,
      isCongested: false,
      deliver: (granted) => {
        const jobs = granted.flatMap((g) => leasedJobs(g, prefix));
        if (isOver) release(jobs);
        else finish(jobs);
      },
      lost: () => {},
    };
    if (signal.aborted) return giveUp();
    signal.addEventListener('abort', giveUp);
    let patience = READ_TURNS_MAX;
    let wasReading = false;
    const end = () => {
      // L2. What was read is handed out in a turn of its own.
      const isReading = view.isReading(cell);
      if ((isReading || wasReading) && patience-- > 0) {
        wasReading = isReading;
        cancelTimer = runtime.after(TURN_MS, end);
        return;
      }
      waiter.isCongested = true;
      // A grant may be on its way to the disk: what it brings is answered, then the wait is over.
      if (waiter.credits === max) giveUp();
    };
    // A wait of 0 still gets its turn: the tick that `addWaiter` asks for runs first.
    const waitMs = Math.min(LEASE_WAIT_MS_MAX, request.waitMs);
    cancelTimer = runtime.after(Math.max(waitMs, TURN_MS), end);
    view.addWaiter(cell, waiter);
  });
}
