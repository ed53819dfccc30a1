// flowmesh queue: what queues there are and what they should be. Their jobs are in jobs.ts and work.ts.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import { formatDuration, formatRate, formatSize } from '../../crds/values.ts';
import type { Action, Context } from '../context.ts';
import { jsonField, plain, plainWithout } from '../json.ts';
import { duration, rate, schemaRef, size, whole } from '../parsing.ts';
import { confirm } from '../prompt.ts';
import { type Column, details, table } from '../table.ts';
import { count, counted, perSecond, printable, relative, span, workersText } from '../text.ts';
import { addJobEffects } from './effects.ts';
import { addFlowCommand } from './flow.ts';
import { addJobCommands } from './jobs.ts';
import { atOption } from './kv-run.ts';
import { addDisownCommand, ownerJson, ownerText } from './owner.ts';
import { type AtOption, getAt } from './queue-past.ts';
import { addQueueTailCommand } from './queue-tail.ts';
import { addRedriveTaskCommands } from './redrive-task.ts';
import { schemaText } from './schema.ts';
import { addWorkCommands } from './work.ts';

export function addQueueCommands(program: Command, action: Action): void {
  const queue = program.command('queue').description('job queues and their jobs');
  queue.command('ls').description('list queues with their figures').action(action(list));
  queue
    .command('get <queue>')
    .description('settings and figures of a queue')
    .addOption(atOption())
    .action(action(get));
  queue
    .command('schedules <queue>')
    .description('the schedules of a queue, and when each comes next')
    .action(action(schedules));
  addDeclareCommand(queue, action);
  addJobCommands(queue, action);
  addFlowCommand(queue, action);
  addJobEffects(queue, action);
  addQueueTailCommand(queue, action);
  addWorkCommands(queue, action);
  addRedriveTaskCommands(queue, action);
  queue
    .command('pause <queue>')
    .description('hand out no more jobs; enqueuing goes on')
    .action(action(pause(true)));
  queue
    .command('resume <queue>')
    .description('hand out jobs again')
    .action(action(pause(false)));
  queue
    .command('purge <queue>')
    .description('remove every job that is not leased')
    .option('-y, --yes', 'do not ask')
    .action(action(purge));
  queue
    .command('delete <queue>')
    .description('remove a queue with its jobs')
    .option('-y, --yes', 'do not ask')
    .option('--if-empty', 'only if it has no jobs')
    .action(action(remove));
  addDisownCommand(queue, action, 'queue');
}

function addDeclareCommand(queue: Command, action: Action): void {
  queue
    .command('declare <queue>')
    .description('create a queue or change its settings; unset ones take the defaults')
    .option('--visibility-timeout <duration>', 'how long a lease lasts unless renewed (30s)', duration)
    .option('--timeout <duration>', 'how long one attempt may run (30m)', duration)
    .option('--max-attempts <n>', 'failed attempts before a job is dead (10)', whole(1, 10_000))
    .option('--max-deliveries <n>', 'deliveries before a job is dead (20)', whole(1, 10_000))
    .option('--backoff-initial <duration>', 'wait after the first failure (1s)', duration)
    .option('--backoff-max <duration>', 'longest wait (10m)', duration)
    .option('--fixed-backoff', 'the same wait after each failure')
    .option('--dead-letter <queue>', 'where dead jobs go (<queue>.dead)')
    .option('--dedup-window <duration>', 'how long a dedup key is remembered (5m)', duration)
    .option('--max-depth <n>', 'unfinished jobs at most (no limit)', whole(1))
    .option('--rate <rate>', 'jobs that may start in a time, such as 500/s (no limit)', rate)
    .option('--rate-per-key <rate>', 'the same for each limit key (no limit)', rate)
    .option('--concurrency <n>', 'jobs that may be leased at the same time (no limit)', whole(1, 1_000_000))
    .option('--concurrency-per-key <n>', 'the same for each limit key (no limit)', whole(1, 100_000))
    .option('--block-when-full', 'let calls wait for room at --max-depth')
    .option('--skip-failed-head', 'a failed job with a key is dead at once, and the others go on')
    .option('--fair', 'limit keys take turns, one job each')
    .option('--priority-aging <duration>', 'a ready job gains one priority each time (never)', duration)
    .option('--schema <schema>', 'what payloads must match: order, or order@2 for that version', schemaRef)
    .option('--retention <duration>', 'how long finished jobs stay readable (24h)', duration)
    .option('--retention-size <size>', 'how many bytes of them (1Gi)', size)
    .action(action(declare));
}

const busy = (figures: pb.QueueFigures | null) => figures ?? emptyFigures;

const emptyFigures: pb.QueueFigures = {
  waiting: 0,
  delayed: 0,
  blocked: 0,
  waitingChildren: 0,
  leased: 0,
  enqueuedTotal: 0,
  completedTotal: 0,
  cancelledTotal: 0,
  failedTotal: 0,
  deadTotal: 0,
  oldestReadyAtMs: 0,
  workers: 0,
  busyWorkers: 0,
  arrivalsPerSecond: 0,
  completionsPerSecond: 0,
  processingMs: 0,
  workersWanted: null,
  processingP50Ms: 0,
  processingP95Ms: 0,
  processingP99Ms: 0,
  throughputPerWorker: 0,
};

async function list(context: Context): Promise<void> {
  const api = await context.api();
  const { queues } = await api.listQueues({});
  queues.sort((a, b) => ((a.spec?.name ?? '') < (b.spec?.name ?? '') ? -1 : 1));
  context.show(queues.map(queueJson), () => (queues.length === 0 ? '' : queueTable(queues, context)));
  if (queues.length === 0) context.hint('no queues yet; declare one: flowmesh queue declare emails.send');
}

function queueTable(queues: pb.Queue[], { terminal }: Context): string {
  const { red, yellow } = terminal.colors;
  const figure = (title: string, of: (figures: pb.QueueFigures) => number): Column<pb.Queue> => ({
    title,
    value: ({ figures }) => count(of(busy(figures))),
    align: 'right',
  });
  const columns: Column<pb.Queue>[] = [
    { title: 'QUEUE', value: ({ spec }) => printable(spec?.name ?? ''), flexible: true },
    figure('WAITING', ({ waiting }) => waiting),
    figure('DELAYED', ({ delayed }) => delayed),
    { ...figure('BLOCKED', ({ blocked }) => blocked), optional: true },
    figure('LEASED', ({ leased }) => leased),
    { ...figure('DONE', ({ completedTotal }) => completedTotal), optional: true },
    {
      ...figure('DEAD', ({ deadTotal }) => deadTotal),
      paint: (text, { figures }) => (busy(figures).deadTotal > 0 ? red(text) : text),
    },
    {
      title: 'OLDEST',
      value: ({ figures }) => relative(busy(figures).oldestReadyAtMs, terminal.nowMs()).replace(' ago', ''),
      align: 'right',
    },
    {
      ...{ title: 'BUSY', value: ({ figures }) => workersText(busy(figures)) },
      ...{ align: 'right', optional: true },
    },
  ];
  if (queues.some(({ figures }) => busy(figures).workersWanted !== null)) {
    const wanted = ({ workersWanted }: pb.QueueFigures) =>
      workersWanted === null ? '-' : count(workersWanted);
    columns.push({ title: 'WANTED', value: ({ figures }) => wanted(busy(figures)), align: 'right' });
  }
  if (queues.some(({ paused }) => paused)) {
    columns.push({
      title: '',
      value: ({ paused }) => (paused ? 'paused' : ''),
      paint: (text) => yellow(text),
    });
  }
  return table(queues, columns, terminal);
}

const queueJson = ({ spec, paused, figures, shard, createdAtMs, schedules, ...of }: pb.Queue) => ({
  ...plainWithout(spec ?? {}, 'mutation', 'schedules'),
  schedules: schedulesJson(spec, schedules),
  ...{ paused, shard, createdAtMs },
  ...ownerJson(of),
  figures: plain(busy(figures)),
});

async function get(context: Context, { at }: AtOption, name: string): Promise<void> {
  if (at !== undefined) return getAt(context, at(context.terminal.nowMs()), name);
  const api = await context.api();
  const queue = await api.getQueue({ name });
  context.show(queueJson(queue), () => queueDetails(queue, context));
}

function queueDetails(queue: pb.Queue, { terminal }: Context): string {
  const { spec, paused, shard } = queue;
  const figures = busy(queue.figures);
  const now = terminal.nowMs();
  const backoff = spec?.backoff;
  const wait =
    backoff && `${backoff.type}, ${formatDuration(backoff.initialMs)} to ${formatDuration(backoff.maxMs)}`;
  const oldest = figures.oldestReadyAtMs > 0 ? `, the oldest ${relative(figures.oldestReadyAtMs, now)}` : '';
  return details(
    [
      ['queue', `${printable(spec?.name ?? '')}${paused ? `  ${terminal.colors.yellow('paused')}` : ''}`],
      ['owner', ownerText(queue)],
      ['waiting', `${count(figures.waiting)}${oldest}`],
      ['delayed', count(figures.delayed)],
      ['waiting for children', figures.waitingChildren > 0 ? count(figures.waitingChildren) : ''],
      ['blocked', count(figures.blocked)],
      ['leased', count(figures.leased)],
      ['workers', workersWords(figures)],
      ['traffic', trafficText(figures)],
      ['completed', `${count(figures.completedTotal)} of ${count(figures.enqueuedTotal)} enqueued`],
      ['failed', `${counted(figures.failedTotal, 'attempt')}, ${counted(figures.deadTotal, 'job')} dead`],
      ['lease', formatDuration(spec?.visibilityTimeoutMs ?? 0)],
      ['timeout', formatDuration(spec?.timeoutMs ?? 0)],
      ['attempts', `${spec?.maxAttempts}, deliveries ${spec?.maxDeliveries}`],
      ['backoff', wait ? `${wait}, jitter ${backoff.jitter}` : ''],
      ['schema', schemaText(spec?.schemaRef)],
      ['dead letter', printable(spec?.deadLetterQueue ?? '')],
      ['dedup window', formatDuration(spec?.deduplicationWindowMs ?? 0)],
      ['max depth', spec?.maxDepth ? count(spec.maxDepth) : 'no limit'],
      ['next tick', nextTick(queue, now)],
      ['limits', limitsText(spec)],
      ['turns', spec?.fair ? 'limit keys take turns' : ''],
      ['priorities', spec?.priorityAgingMs ? `one more each ${formatDuration(spec.priorityAgingMs)}` : ''],
      ['retention', `${formatDuration(spec?.retentionMs ?? 0)}, ${formatSize(spec?.retentionBytes ?? 0)}`],
      ['shard', String(shard)],
    ],
    terminal,
  );
}

function workersWords({ workers, busyWorkers, workersWanted }: pb.QueueFigures): string {
  const wanted = workersWanted === null ? '' : `, ${count(workersWanted)} wanted (flowmesh scaling says why)`;
  return `${count(workers)}, ${count(busyWorkers)} busy${wanted}`;
}

function trafficText({ arrivalsPerSecond, completionsPerSecond, processingMs }: pb.QueueFigures): string {
  const handling = processingMs > 0 ? `, ${span(processingMs)} each` : '';
  return `${perSecond(arrivalsPerSecond)} in, ${perSecond(completionsPerSecond)} done${handling}`;
}

function limitsText(spec: pb.QueueSpec | null): string {
  const { ratePerKey, concurrencyPerKey, rate, concurrency } = spec?.limits ?? {};
  const parts = [
    rate ? formatRate(rate) : '',
    concurrency ? `${count(concurrency)} at a time` : '',
    ratePerKey ? `${formatRate(ratePerKey)} of a key` : '',
    concurrencyPerKey ? `${count(concurrencyPerKey)} of a key at a time` : '',
  ];
  return parts.filter(Boolean).join(', ');
}

const schedulesJson = (spec: pb.QueueSpec | null, states: readonly pb.ScheduleState[]) =>
  (spec?.schedules ?? []).map((schedule, i) => ({
    ...plainWithout(schedule, 'payload'),
    ...jsonField('payload', schedule.payload, schedule.contentType),
    ...plainWithout(states[i] ?? {}),
  }));

/** The next tick of all. */
function nextTick({ schedules }: pb.Queue, nowMs: number): string {
  const [next] = schedules.filter(({ nextMs }) => nextMs > 0).sort((a, b) => a.nextMs - b.nextMs);
  return next === undefined ? '' : `${printable(next.name)} ${relative(next.nextMs, nowMs)}`;
}

interface DeclareOptions {
  schema?: pb.SchemaRefInput;
  rate?: pb.RateInput;
  ratePerKey?: pb.RateInput;
  concurrency?: number;
  concurrencyPerKey?: number;
  fair?: boolean;
  priorityAging?: number;
  blockWhenFull?: boolean;
  skipFailedHead?: boolean;
  visibilityTimeout?: number;
  timeout?: number;
  maxAttempts?: number;
  maxDeliveries?: number;
  backoffInitial?: number;
  backoffMax?: number;
  fixedBackoff?: boolean;
  deadLetter?: string;
  dedupWindow?: number;
  maxDepth?: number;
  retention?: number;
  retentionSize?: number;
}

async function declare(context: Context, o: DeclareOptions, name: string): Promise<void> {
  const api = await context.api();
  const queue = await api.applyQueue({
    name,
    visibilityTimeoutMs: o.visibilityTimeout,
    timeoutMs: o.timeout,
    maxAttempts: o.maxAttempts,
    maxDeliveries: o.maxDeliveries,
    backoff: { type: o.fixedBackoff ? 'fixed' : '', initialMs: o.backoffInitial, maxMs: o.backoffMax },
    deadLetterQueue: o.deadLetter,
    deduplicationWindowMs: o.dedupWindow,
    maxDepth: o.maxDepth,
    retentionMs: o.retention,
    retentionBytes: o.retentionSize,
    limits: {
      rate: o.rate,
      ratePerKey: o.ratePerKey,
      concurrency: o.concurrency,
      concurrencyPerKey: o.concurrencyPerKey,
    },
    fair: o.fair,
    priorityAgingMs: o.priorityAging,
    schemaRef: o.schema,
    onFull: o.blockWhenFull ? 'block' : undefined,
    failedHead: o.skipFailedHead ? 'skip' : undefined,
    mutation: api.mutation(),
  });
  context.show(queueJson(queue), () => queueDetails(queue, context));
}

const pause =
  (paused: boolean) =>
  async (context: Context, _: unknown, queue: string): Promise<void> => {
    const api = await context.api();
    await api.setPaused({ queue, paused, mutation: api.mutation() });
    context.show({ queue, paused }, () => `${printable(queue)} ${paused ? 'paused' : 'resumed'}\n`);
  };

async function purge(context: Context, { yes }: { yes?: boolean }, queue: string): Promise<void> {
  const api = await context.api();
  const figures = busy((await api.getQueue({ name: queue })).figures);
  const jobs = figures.waiting + figures.delayed + figures.blocked + figures.waitingChildren;
  await confirm(context.terminal, `Remove about ${counted(jobs, 'job')} of ${queue}?`, yes);
  const { purged } = await api.purge({ queue, mutation: api.mutation() }, { deadlineMs: 60_000 });
  context.show({ queue, purged }, () => `${counted(purged, 'job')} removed\n`);
}

async function schedules(context: Context, _: unknown, name: string): Promise<void> {
  const api = await context.api();
  const queue = await api.getQueue({ name });
  const { terminal } = context;
  const now = terminal.nowMs();
  const rows = (queue.spec?.schedules ?? []).map((schedule, i) => ({ ...schedule, ...queue.schedules[i] }));
  const columns: Column<(typeof rows)[number]>[] = [
    { title: 'SCHEDULE', value: (row) => printable(row.name), flexible: true },
    { title: 'CRON', value: ({ cron }) => printable(cron) },
    { title: 'ZONE', value: ({ timeZone }) => printable(timeZone) },
    { title: 'NEXT', value: ({ nextMs = 0 }) => relative(nextMs, now), align: 'right' },
    { title: 'LAST', value: ({ firedMs = 0 }) => relative(firedMs, now), align: 'right' },
    { title: 'JOB', value: ({ jobId }) => jobId || '-' },
    { title: 'SKIPPED', value: ({ skippedTotal = 0 }) => count(skippedTotal), align: 'right' },
  ];
  context.show(schedulesJson(queue.spec, queue.schedules), () =>
    rows.length === 0 ? '' : table(rows, columns, terminal),
  );
  if (rows.length === 0) context.hint(`${name} has no schedules; declare them in a manifest`);
}

interface RemoveOptions {
  yes?: boolean;
  ifEmpty?: boolean;
}

async function remove(
  context: Context,
  { yes, ifEmpty = false }: RemoveOptions,
  name: string,
): Promise<void> {
  const api = await context.api();
  const figures = busy((await api.getQueue({ name })).figures);
  const jobs = figures.waiting + figures.delayed + figures.blocked + figures.waitingChildren + figures.leased;
  if (!ifEmpty) await confirm(context.terminal, `Delete ${name} with its ${counted(jobs, 'job')}?`, yes);
  await api.deleteQueue({ name, ifEmpty, mutation: api.mutation() });
  context.show({ deleted: name }, () => `${printable(name)} deleted\n`);
}
