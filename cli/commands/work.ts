// flowmesh queue lease, ack, nack, extend, redrive: a worker by hand, and dead jobs back to life.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { Argument, type Command, Option } from 'commander';
import type { Action, Context } from '../context.ts';
import { interrupted, throwWireError } from '../failure.ts';
import { jsonField } from '../json.ts';
import { duration, durationOrNone, whole } from '../parsing.ts';
import { type Progress, startProgress } from '../progress.ts';
import { table } from '../table.ts';
import { count, counted, preview, printable, relative, span } from '../text.ts';

export function addWorkCommands(queue: Command, action: Action): void {
  queue
    .command('lease <queue>')
    .description('take jobs as a worker would; each is yours until its lease ends')
    .option('--max <n>', 'jobs at most', whole(1, 1000), 1)
    .addOption(
      new Option('--wait <duration>', 'how long to wait for the first')
        .argParser(durationOrNone)
        .default(1000, '1s'),
    )
    .option('--visibility <duration>', 'how long the lease lasts', duration)
    .action(action(lease));
  queue.command('ack <queue> <id>').addArgument(epoch()).description('the job is done').action(action(ack));
  queue
    .command('nack <queue> <id>')
    .addArgument(epoch())
    .description('the attempt failed')
    .option('--error <text>', 'why', 'rejected by hand')
    .option('--retry-after <duration>', 'instead of the backoff of the queue', durationOrNone)
    .addOption(new Option('--dead', 'do not try again').conflicts(['release', 'retryAfter']))
    .option('--release', 'give it back uncounted')
    .action(action(nack));
  queue
    .command('extend <queue> <id>')
    .addArgument(epoch())
    .argument('<duration>', 'from now', duration)
    .description('keep the lease this much longer, from now')
    .action(action(extend));
  queue
    .command('cancel <queue> <id>')
    .description('finish a job that waits or is held, without its handler')
    .option('--reason <text>', 'shown with the job')
    .action(action(cancel));
  queue
    .command('redrive <dead-letter-queue>')
    .description('move dead jobs back to where they came from')
    .option('--to <queue>', 'move all of them here')
    .option('--max <n>', 'jobs at most', whole(1))
    .action(action(redrive));
}

const epoch = () => new Argument('<epoch>', 'as lease printed it').argParser(whole(1));

async function cancel(
  context: Context,
  { reason }: { reason?: string },
  queue: string,
  id: string,
): Promise<void> {
  const api = await context.api();
  const { cancelled, state } = await api.cancelJob({ queue, id, reason, mutation: api.mutation() });
  context.show({ id, cancelled, state }, () => `${id} ${cancelled ? 'cancelled' : 'was finished already'}\n`);
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
  if (first === undefined) context.hint(`no job was ready in ${queue}`);
  else context.hint(`done with it? flowmesh queue ack ${queue} ${first.id} ${first.leaseEpoch}`);
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

async function ack(context: Context, _: unknown, queue: string, id: string, leaseEpoch: number) {
  await settle(context, queue, { id, leaseEpoch, ack: {} });
  context.show({ id, state: 'completed' }, () => `${printable(id)} completed\n`);
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
  leaseEpoch: number,
): Promise<void> {
  const action = { error: o.error, retryAfterMs: o.retryAfter, unrecoverable: o.dead, release: o.release };
  await settle(context, queue, { id, leaseEpoch, nack: action });
  const what = o.release ? 'released' : o.dead ? 'dead' : 'rejected';
  context.show({ id, outcome: what }, () => `${printable(id)} ${what}\n`);
}

async function extend(
  context: Context,
  _: unknown,
  queue: string,
  id: string,
  leaseEpoch: number,
  visibilityMs: number,
): Promise<void> {
  await settle(context, queue, { id, leaseEpoch, extend: { visibilityMs } });
  context.show({ id, visibilityMs }, () => `${printable(id)} is yours for ${span(visibilityMs)} more\n`);
}

interface RedriveOptions {
  to?: string;
  max?: number;
}

async function redrive(context: Context, { to = '', max }: RedriveOptions, queue: string): Promise<void> {
  const api = await context.api();
  const signal = context.terminal.interrupted();
  const wanted = max ?? Number.POSITIVE_INFINITY;
  let [moved, remaining] = [0, 0];
  let progress: Progress | undefined;
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
    } while (remaining > 0 && moved < wanted && !signal.aborted);
  } finally {
    progress?.stop();
  }
  if (signal.aborted && remaining > 0) throw interrupted(`${counted(moved, 'job')} moved`);
  const rest = remaining > 0 ? `, ${count(remaining)} remain` : '';
  context.show({ queue, moved, remaining }, () => `${counted(moved, 'job')} moved${rest}\n`);
}
