// flowmesh queue enqueue, peek, jobs, job: putting jobs in, and looking at them without touching them.
import { DEDUP_MODES } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { type Command, Option } from 'commander';
import { sendLines } from '../bulk.ts';
import type { Api } from '../client.ts';
import type { Action, Context } from '../context.ts';
import { CliError, usage } from '../failure.ts';
import { readInput } from '../input.ts';
import { jsonField, plain, plainWithout } from '../json.ts';
import { duration, durationOrNone, header, typedValue, whole } from '../parsing.ts';
import { type Column, details, table } from '../table.ts';
import { clock, count, preview, printable, relative, span, textOf } from '../text.ts';
import { childTree, drawn } from './flow.ts';
import { atOption } from './kv-run.ts';
import { type AtOption, jobsAt } from './queue-past.ts';

const states = [
  'waiting',
  'delayed',
  'retrying',
  'blocked',
  'waiting_children',
  'leased',
  'completed',
  'cancelled',
  'dead',
];

export function addJobCommands(queue: Command, action: Action): void {
  queue
    .command('enqueue <queue> [payload]')
    .description('add a job; the payload can come from a pipe')
    .option('--key <key>', 'jobs of one key are handled in order, one at a time')
    .option('--limit-key <key>', 'jobs of one share the limits per key and take turns with others (--key)')
    .option('--delay <duration>', 'not before this long from now', durationOrNone)
    .option('--priority <n>', '0 to 255, higher first', whole(0, 255))
    .option('--dedup-key <key>', 'enqueue only once within the deduplication window')
    .addOption(new Option('--dedup-mode <mode>', 'what a second job with the key does').choices(DEDUP_MODES))
    .option('--dedup-window <duration>', 'how long the key counts, instead of as the queue says', duration)
    .option('--timeout <duration>', 'how long one attempt may run', duration)
    .option('-H, --header <name=value>', 'may be given several times', header)
    .option('--file <file>', 'a job for each line; - is standard input')
    .action(action(enqueue));
  queue
    .command('peek <queue>')
    .description('the next jobs with their payloads; they stay where they are')
    .option('--limit <n>', 'jobs at most', whole(1, 1000), 10)
    .action(action(peek));
  queue
    .command('jobs <queue>')
    .description('list jobs by state')
    .addOption(new Option('--state <state>', 'in this state').choices(states))
    .option('--limit <n>', 'jobs at most', whole(1, 10_000), 50)
    .addOption(atOption())
    .action(action(jobs));
  queue.command('job <queue> <id>').description('one job with its timeline').action(action(job));
}

interface EnqueueOptions {
  key?: string;
  limitKey?: string;
  delay?: number;
  priority?: number;
  dedupKey?: string;
  dedupMode?: string;
  dedupWindow?: number;
  timeout?: number;
  header?: Record<string, string>;
  file?: string;
}

async function enqueue(
  context: Context,
  options: EnqueueOptions,
  queue: string,
  payload?: string,
): Promise<void> {
  const api = await context.api();
  if (options.file !== undefined) {
    if (payload !== undefined) throw usage('a payload and --file', 'give one of the two');
    return enqueueLines(context, api, options, queue);
  }
  const value = payload === undefined ? await pipedPayload(context) : typedValue(payload);
  const { jobs: enqueued } = await api.enqueue({
    queue,
    jobs: [newJob(value, options)],
    mutation: api.mutation(),
  });
  const [{ id, deduplicated, replacedId } = { id: '', deduplicated: false, replacedId: '' }] = enqueued;
  const replaced = replacedId ? `  (in place of ${replacedId})` : '';
  const remark = deduplicated ? '  (an earlier job with the same dedup key)' : replaced;
  context.show({ id, deduplicated, ...(replacedId ? { replacedId } : {}) }, () => `${id}${remark}\n`);
}

async function pipedPayload({ terminal }: Context) {
  if (terminal.stdin.isTTY) throw usage('the payload is missing', 'write it after the queue, or pipe it in');
  const bytes = await readInput(terminal.stdin);
  const text = textOf(bytes);
  return {
    bytes,
    contentType: text === undefined ? 'application/octet-stream' : typedValue(text).contentType,
  };
}

function newJob({ bytes, contentType }: ReturnType<typeof typedValue>, o: EnqueueOptions): pb.NewJobInput {
  const headers = Object.entries(o.header ?? {}).map(([name, value]) => [name, Buffer.from(value)] as const);
  return {
    payload: bytes,
    contentType,
    key: o.key === undefined ? null : Buffer.from(o.key),
    limitKey: o.limitKey === undefined ? null : Buffer.from(o.limitKey),
    delayMs: o.delay,
    priority: o.priority,
    dedupKey: o.dedupKey,
    dedupMode: o.dedupMode,
    dedupWindowMs: o.dedupWindow,
    timeoutMs: o.timeout,
    headers: Object.fromEntries(headers),
  };
}

async function enqueueLines(
  context: Context,
  api: Api,
  options: EnqueueOptions,
  queue: string,
): Promise<void> {
  if (options.dedupKey !== undefined)
    throw usage('--dedup-key with --file', 'all lines but the first would be dropped');
  await sendLines(context, {
    ...{ file: options.file ?? '-', title: `enqueue ${queue}`, unit: 'job', done: 'enqueued' },
    item: ({ text }) => newJob(typedValue(text), options),
    send: (jobs) =>
      api.enqueue({ queue, jobs, mutation: api.mutation() }, { patient: true, deadlineMs: 60_000 }),
  });
}

function jobJson(job: pb.Job): Record<string, unknown> {
  return {
    ...plainWithout(job, 'key', 'limitKey', 'payload'),
    ...(job.key.length > 0 ? jsonField('key', job.key, 'text/plain') : { key: null }),
    ...(job.limitKey.length > 0 ? jsonField('limitKey', job.limitKey, 'text/plain') : { limitKey: null }),
    ...jsonField('payload', job.payload, job.contentType),
  };
}

async function peek(context: Context, { limit }: { limit: number }, queue: string): Promise<void> {
  const api = await context.api();
  const { jobs: waiting } = await api.listJobs({ queue, state: 'waiting', limit });
  const now = context.terminal.nowMs();
  context.show(waiting.map(jobJson), () =>
    waiting.length === 0
      ? ''
      : table(
          waiting,
          [
            { title: 'JOB', value: ({ id }) => id },
            { title: 'ENQUEUED', value: ({ enqueuedAtMs }) => relative(enqueuedAtMs, now) },
            { title: 'KEY', value: ({ key }) => preview(key) || '-', flexible: true },
            { title: 'PAYLOAD', value: ({ payload }) => preview(payload), flexible: true },
          ],
          context.terminal,
        ),
  );
  if (waiting.length === 0) context.hint(`no waiting jobs in ${queue}`);
}

interface JobsOptions extends AtOption {
  state?: string;
  limit: number;
}

async function jobs(context: Context, { state = '', limit, at }: JobsOptions, queue: string): Promise<void> {
  if (at !== undefined) return jobsAt(context, { timeMs: at(context.terminal.nowMs()), state, limit }, queue);
  const api = await context.api();
  const found: pb.Job[] = [];
  let cursor = '';
  do {
    const page = await api.listJobs({ queue, state, limit: Math.min(500, limit - found.length), cursor });
    found.push(...page.jobs);
    cursor = page.cursor;
  } while (cursor !== '' && found.length < limit);
  context.show({ jobs: found.map(jobJson), isComplete: cursor === '' }, () =>
    found.length === 0 ? '' : table(found, jobColumns(context), context.terminal),
  );
  if (found.length === 0) context.hint(`no ${state === '' ? 'unfinished' : state} jobs in ${queue}`);
  if (state === 'dead') {
    const deadLetters = (await api.getQueue({ name: queue })).spec?.deadLetterQueue;
    if (deadLetters) context.hint(`dead jobs are moved: flowmesh queue jobs ${deadLetters}`);
  }
  if (cursor !== '') context.hint(`more jobs than ${count(limit)}; see --limit`);
}

function jobColumns({ terminal }: Context): Column<pb.Job>[] {
  const now = terminal.nowMs();
  return [
    { title: 'JOB', value: ({ id }) => id },
    {
      title: 'STATE',
      value: ({ state }) => state,
      paint: (text, { state }) => stateColor(state, terminal)(text),
    },
    { title: 'ENQUEUED', value: ({ enqueuedAtMs }) => relative(enqueuedAtMs, now) },
    { title: 'ATTEMPTS', value: ({ counters }) => String(counters?.acquired ?? 0), align: 'right' },
    { title: 'KEY', value: ({ key }) => preview(key) || '-', flexible: true },
    { title: 'WHY', value: (row) => printable(why(row, now)), flexible: true },
  ];
}

/** As short as it can be said; the server says it in full. */
function why(
  { state, reason, worker, leaseDeadlineMs, readyAtMs, lastError, sourceId }: pb.Job,
  nowMs: number,
): string {
  if (state === 'leased') return `${worker}, ends ${relative(leaseDeadlineMs, nowMs)}`;
  if (state === 'delayed') return `ready ${relative(readyAtMs, nowMs)}`;
  if (state === 'retrying') return `ready ${relative(readyAtMs, nowMs)}: ${lastError}`;
  // It died in another queue, and that is what one wants to know of it.
  return sourceId && lastError ? lastError : reason;
}

function stateColor(state: string, { colors }: Context['terminal']): (text: string) => string {
  if (state === 'completed') return colors.green;
  if (state === 'dead') return colors.red;
  if (state === 'leased') return colors.cyan;
  return state === 'waiting' ? String : colors.yellow;
}

async function job(context: Context, _: unknown, queue: string, id: string): Promise<void> {
  const api = await context.api();
  const [found, history] = await Promise.all([
    api.getJob({ queue, id }),
    api.jobHistory({ queue, id }).catch((error: unknown) => {
      // The job is there even if its history has been trimmed.
      if (error instanceof Error && 'code' in error && error.code === 'HISTORY_TRIMMED') return undefined;
      throw error;
    }),
  ]);
  if (found.id === '') throw new CliError(`there is no job ${id} in ${queue}`);
  const tree = await childTree(api, found);
  const timeline = { transitions: history?.transitions ?? [], trimmed: history?.trimmed ?? true };
  context.show({ ...jobJson(found), timeline: plain(timeline) }, () =>
    jobDetails(found, timeline, tree, context),
  );
}

function jobDetails(
  found: pb.Job,
  timeline: pb.JobHistoryResponse,
  tree: Awaited<ReturnType<typeof childTree>>,
  { terminal }: Context,
): string {
  const now = terminal.nowMs();
  const { counters } = found;
  const lease = found.leaseEpoch > 0 && found.state === 'leased';
  const ends = relative(found.leaseDeadlineMs, now);
  const tally =
    counters && `${counters.acquired} (${counters.failed} failed, ${counters.timedOut} timed out)`;
  // Of a finished job only the timeline knows more.
  const isOver = found.state === 'completed';
  const why = found.reason && !isOver ? `: ${printable(found.reason)}` : '';
  const head = details(
    [
      ['job', found.id],
      ['queue', printable(found.queue)],
      ['state', stateColor(found.state, terminal)(found.state) + why],
      ['enqueued', `${clock(found.enqueuedAtMs, now)}, ${relative(found.enqueuedAtMs, now)}`],
      ['ready', found.readyAtMs > now ? relative(found.readyAtMs, now) : ''],
      ['key', preview(found.key)],
      ['limit key', preview(found.limitKey)],
      ['priority', found.priority > 0 ? String(found.priority) : ''],
      ['dedup key', printable(found.dedupKey)],
      ['attempts', isOver ? '' : (tally ?? '')],
      ['lease', lease ? `${printable(found.worker)}, epoch ${found.leaseEpoch}, ends ${ends}` : ''],
      ['last error', printable(found.lastError.split('\n', 1)[0] ?? '')],
      ['came from', found.sourceId && `${found.sourceId} of ${printable(found.sourceQueue)}`],
      ['parent', found.parent ? `${found.parent.id} of ${printable(found.parent.queue)}` : ''],
      ['children', childrenText(found.children)],
      ['progress', found.progress && `${printable(found.progress)}, ${relative(found.progressAtMs, now)}`],
      ['result', found.resultContentType && preview(found.result)],
      ['first enqueued', found.firstId && `${clock(found.firstEnqueuedAtMs, now)} as ${found.firstId}`],
      ['redrives', found.redrives > 0 ? String(found.redrives) : ''],
      ['payload', preview(found.payload)],
    ],
    terminal,
  );
  const attempts = attemptsText(found.attempts, terminal);
  const below = tree.length > 0 ? `\n${terminal.colors.dim('children')}\n${drawn(tree)}` : '';
  return head + below + attempts + logText(found, terminal) + timelineText(timeline, terminal);
}

const childrenText = (counts: pb.ChildCounts | null): string =>
  counts?.total ? `${count(counts.total)} (${count(counts.open)} open, ${count(counts.failed)} failed)` : '';

function attemptsText(attempts: readonly pb.JobAttempt[], terminal: Context['terminal']): string {
  if (attempts.length === 0) return '';
  const now = terminal.nowMs();
  const columns: Column<pb.JobAttempt>[] = [
    { title: 'ENDED', value: ({ atMs }) => clock(atMs, now) },
    { title: 'AFTER', value: ({ durationMs }) => span(durationMs), align: 'right' },
    { title: 'HOW', value: ({ kind }) => kind },
    { title: 'WORKER', value: ({ worker }) => printable(worker), flexible: true },
    { title: 'BUILD', value: ({ build }) => printable(build) || '-', optional: true },
    { title: 'ERROR', value: ({ error }) => printable(error.split('\n', 1)[0] ?? ''), flexible: true },
  ];
  return `\n${terminal.colors.dim('attempts that failed')}\n${table(attempts, columns, terminal)}`;
}

function logText({ log, logLines }: pb.Job, terminal: Context['terminal']): string {
  if (log.length === 0) return '';
  const { dim } = terminal.colors;
  const now = terminal.nowMs();
  const title = log.length < logLines ? `log (the last ${log.length} of ${count(logLines)} lines)` : 'log';
  const lines = log.map(({ atMs, text }) => `${dim(clock(atMs, now))}  ${printable(text)}\n`);
  return `\n${dim(title)}\n${lines.join('')}`;
}

function timelineText(
  { transitions, trimmed }: pb.JobHistoryResponse,
  terminal: Context['terminal'],
): string {
  const { dim } = terminal.colors;
  const now = terminal.nowMs();
  const title = `\n${dim(trimmed ? 'timeline (older steps are forgotten)' : 'timeline')}\n`;
  if (transitions.length === 0) return trimmed ? title : '';
  const firstMs = transitions[0]?.timeMs ?? 0;
  const rows = transitions.map((step) => ({
    ...step,
    since: step.timeMs === firstMs ? '' : `+${span(step.timeMs - firstMs)}`,
    text: [step.worker && `by ${step.worker}`, step.leaseEpoch > 0 && `epoch ${step.leaseEpoch}`, step.detail]
      .filter(Boolean)
      .join(', '),
  }));
  const columns: Column<(typeof rows)[number]>[] = [
    { title: 'TIME', value: ({ timeMs }) => clock(timeMs, now) },
    { title: '', value: ({ since }) => since, align: 'right', paint: dim },
    { title: 'WHAT', value: ({ kind }) => kind },
    { title: 'DETAIL', value: ({ text }) => printable(text), flexible: true },
  ];
  return title + table(rows, columns, terminal);
}
