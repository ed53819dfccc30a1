// flowmesh queue lease, ack, nack, extend, redrive: a worker by hand, and dead jobs back to life.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import { throwWireError } from '../failure.ts';
import { jsonField } from '../json.ts';
import { duration, whole } from '../parsing.ts';
import { startProgress } from '../progress.ts';
import { table } from '../table.ts';
import { count, preview, printable, relative } from '../text.ts';

export function addWorkCommands(queue: Command, action: Action): void {
  queue
    .command('lease <queue>')
    .description('take jobs as a worker would; each is yours until its lease ends')
    .option('--max <n>', 'jobs at most', whole(1, 1000), 1)
    .option('--wait <duration>', 'how long to wait for the first', duration, 1000)
    .option('--visibility <duration>', 'how long the lease lasts', duration)
    .action(action(lease));
  queue
    .command('ack <queue> <id> <epoch>')
    .description('the job is done; epoch is what lease printed')
    .action(action(ack));
  queue
    .command('nack <queue> <id> <epoch>')
    .description('the attempt failed')
    .option('--error <text>', 'why', 'rejected by hand')
    .option('--retry-after <duration>', 'instead of the backoff of the queue', duration)
    .option('--dead', 'do not try again')
    .option('--release', 'give it back uncounted')
    .action(action(nack));
  queue
    .command('extend <queue> <id> <epoch> <duration>')
    .description('keep the lease this much longer, from now')
    .action(action(extend));
  queue
    .command('redrive <dead-letter-queue>')
    .description('move dead jobs back to where they came from')
    .option('--to <queue>', 'move all of them here')
    .option('--max <n>', 'jobs at most', whole(1))
    .action(action(redrive));
}

interface LeaseOptions {
  max: number;
  wait: number;
  visibility?: number;
}

async function lease(
  context: Context,
  { max, wait, visibility }: LeaseOptions,
  queue: string,
): Promise<void> {
  const api = await context.api();
  const request = { queue, max, waitMs: wait, visibilityMs: visibility, worker: 'flowmesh cli' };
  const { jobs } = await api.lease(request, { deadlineMs: wait + 10_000 });
  const now = context.terminal.nowMs();
  context.show(jobs.map(leasedJson), () =>
    jobs.length === 0
      ? ''
      : table(
          jobs,
          [
            { title: 'JOB', value: ({ id }) => id },
            { title: 'EPOCH', value: ({ leaseEpoch }) => String(leaseEpoch), align: 'right' },
            { title: 'ATTEMPT', value: ({ attempt }) => String(attempt), align: 'right' },
            { title: 'LEASE ENDS', value: ({ deadlineMs }) => relative(deadlineMs, now) },
            { title: 'PAYLOAD', value: ({ payload }) => preview(payload), flexible: true },
          ],
          context.terminal,
        ),
  );
  const [first] = jobs;
  if (first === undefined) context.hint(`no job was ready in ${printable(queue)}`);
  else context.hint(`done with it? flowmesh queue ack ${printable(queue)} ${first.id} ${first.leaseEpoch}`);
}

function leasedJson(job: pb.LeasedJob): Record<string, unknown> {
  const { id, leaseEpoch, attempt, deadlineMs, enqueuedAtMs, key, payload, contentType } = job;
  const keyField = key.length > 0 ? jsonField('key', key, 'text/plain') : {};
  const fields = { id, leaseEpoch, attempt, deadlineMs, enqueuedAtMs, contentType };
  return { ...fields, ...keyField, ...jsonField('payload', payload, contentType) };
}

async function settle(context: Context, queue: string, settlement: pb.SettlementInput): Promise<void> {
  const api = await context.api();
  const { results } = await api.settle({ queue, settlements: [settlement], mutation: api.mutation() });
  throwWireError(results[0]);
}

const epochOf = (text: string): number => whole(1)(text);

async function ack(context: Context, _: unknown, queue: string, id: string, epoch: string): Promise<void> {
  await settle(context, queue, { id, leaseEpoch: epochOf(epoch), ack: {} });
  context.show({ id, state: 'completed' }, () => `${id} completed\n`);
}

interface NackOptions {
  error: string;
  retryAfter?: number;
  dead?: boolean;
  release?: boolean;
}

async function nack(
  context: Context,
  o: NackOptions,
  queue: string,
  id: string,
  epoch: string,
): Promise<void> {
  const action = { error: o.error, retryAfterMs: o.retryAfter, unrecoverable: o.dead, release: o.release };
  await settle(context, queue, { id, leaseEpoch: epochOf(epoch), nack: action });
  const what = o.release ? 'released' : o.dead ? 'dead' : 'rejected';
  context.show({ id, outcome: what }, () => `${id} ${what}\n`);
}

async function extend(
  context: Context,
  _: unknown,
  queue: string,
  id: string,
  epoch: string,
  time: string,
): Promise<void> {
  const visibilityMs = duration(time);
  await settle(context, queue, { id, leaseEpoch: epochOf(epoch), extend: { visibilityMs } });
  context.show({ id, visibilityMs }, () => `${id} is yours for ${time} more\n`);
}

interface RedriveOptions {
  to?: string;
  max?: number;
}

async function redrive(context: Context, { to = '', max }: RedriveOptions, queue: string): Promise<void> {
  const api = await context.api();
  const wanted = max ?? Number.POSITIVE_INFINITY;
  let [moved, remaining] = [0, 0];
  let progress: ReturnType<typeof startProgress> | undefined;
  try {
    do {
      const page = Math.min(1000, wanted - moved);
      const request = { queue, max: page, targetQueue: to, mutation: api.mutation() };
      const answer = await api.redrive(request, { patient: true, deadlineMs: 60_000 });
      moved += answer.moved;
      remaining = answer.remaining;
      if (answer.moved === 0) break;
      const total = Math.min(wanted, moved + remaining);
      progress ??= startProgress(context.terminal, { title: `redrive ${queue}`, total, unit: 'jobs' });
      progress.update(moved, moved);
    } while (remaining > 0 && moved < wanted);
  } finally {
    progress?.stop();
  }
  const rest = remaining > 0 ? `, ${count(remaining)} remain` : '';
  context.show({ queue, moved, remaining }, () => `${count(moved)} jobs moved${rest}\n`);
}
