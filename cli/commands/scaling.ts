// flowmesh scaling: how many workers queues and consumer groups need, and why.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import type { Api } from '../client.ts';
import type { Action, Context } from '../context.ts';
import { plain } from '../json.ts';
import { type Column, details, table } from '../table.ts';
import { count, counted, perSecond, printable, relative, span, workersText } from '../text.ts';

export function addScalingCommands(program: Command, action: Action): void {
  program
    .command('scaling')
    .description('how many workers are needed, and why')
    .argument('[name]', 'a queue; or, with a group, a stream (all that ask for scaling)')
    .argument('[group]', 'a consumer group of the stream')
    .action(action(scaling));
}

async function scaling(context: Context, _: unknown, name?: string, group?: string): Promise<void> {
  const api = await context.api();
  if (name === undefined) return all(context, await targetsOf(api));
  const answer = await api.getScaling(group === undefined ? { queue: name } : { stream: name, group });
  const what = group === undefined ? name : `${group} of ${name}`;
  context.show(plain(answer), () => explained(what, answer, context));
}

/** One that asks for scaling, and what is known of it. */
interface Target {
  readonly queue?: string;
  readonly stream?: string;
  readonly group?: string;
  readonly answer?: pb.GetScalingResponse;
  /** Why there is no answer. */
  readonly code?: string;
}

async function targetsOf(api: Api): Promise<Target[]> {
  const [{ queues }, { streams }] = await Promise.all([api.listQueues({}), api.listStreams({})]);
  const targets = [
    ...queues.flatMap(({ spec }) => (spec?.scaling ? [{ queue: spec.name }] : [])),
    ...streams.flatMap(({ spec }) =>
      (spec?.consumerGroups ?? []).flatMap(({ name: group, scaling: asked }) =>
        asked ? [{ stream: spec?.name ?? '', group }] : [],
      ),
    ),
  ];
  return Promise.all(targets.map((target) => asked(api, target)));
}

async function asked(api: Api, target: Target): Promise<Target> {
  try {
    return { ...target, answer: await api.getScaling(target) };
  } catch (error) {
    if (error instanceof FlowError) return { ...target, code: error.code };
    throw error;
  }
}

function all(context: Context, targets: readonly Target[]): void {
  const { terminal } = context;
  const now = terminal.nowMs();
  const signals = ({ answer }: Target) => answer?.signals;
  const number = (title: string, value: Column<Target>['value']): Column<Target> => ({
    ...{ title, value, align: 'right' },
  });
  const columns: Column<Target>[] = [
    {
      title: 'TARGET',
      value: ({ queue, stream, group }) => printable(queue ?? `${stream} ${group}`),
      flexible: true,
    },
    number('LAG', (row) => count(signals(row)?.lag ?? 0)),
    number('OLDEST', (row) => relative(signals(row)?.oldestReadyAtMs ?? 0, now).replace(' ago', '')),
    number('BUSY', (row) => workersText(signals(row))),
    number('WANTED', ({ answer }) => (answer?.advice ? count(answer.advice.workersWanted) : '?')),
    { title: 'WHY', value: ({ answer, code }) => printable(answer?.advice?.reason ?? code ?? '') },
  ];
  context.show(plain(targets), () => (targets.length === 0 ? '' : table(targets, columns, terminal)));
  if (targets.length === 0)
    context.hint('nothing asks for scaling; declare spec.scaling of a queue or a consumer group');
}

function explained(what: string, answer: pb.GetScalingResponse, { terminal }: Context): string {
  const { signals: s, advice, workers, scaling: spec } = answer;
  if (s === null || advice === null || spec === null) return '';
  const now = terminal.nowMs();
  const oldest = s.oldestReadyAtMs > 0 ? `, the oldest ${relative(s.oldestReadyAtMs, now)}` : '';
  const each = (ms: number) => (ms > 0 ? span(ms) : '-');
  const shares = `half within ${each(s.processingP50Ms)}, 99 % ${each(s.processingP99Ms)}`;
  const processing = s.processingMs > 0 ? `${span(s.processingMs)} on average, ${shares}` : 'not known yet';
  const head = details(
    [
      ['scaling', `${printable(what)}, from ${spec.scaleFrom} to ${spec.scaleTo}`],
      ['based on', spec.basedOn.map((condition) => printable(condition)).join(', ')],
      ['wanted', `${counted(advice.workersWanted, 'worker')}: ${printable(advice.reason)}`],
      ['why', printable(advice.why)],
      ['lag', `${count(s.lag)}${oldest}`],
      ['in flight', s.partitions === 0 ? count(s.inFlight) : ''],
      ['workers', `${count(s.workers)}, ${count(s.busyWorkers)} busy`],
      ['arrivals', perSecond(s.arrivalsPerSecond)],
      ['completions', perSecond(s.completionsPerSecond)],
      ['each worker', s.throughputPerWorker > 0 ? `${perSecond(s.throughputPerWorker)} while busy` : ''],
      ['handling', processing],
      ['stalled', s.stalled ? stalledText(s) : ''],
    ],
    terminal,
  );
  if (workers.length === 0) return head;
  const rows = table(
    workers,
    [
      { title: 'WORKER', value: ({ name }) => printable(name), flexible: true },
      { title: 'HOLDS', value: ({ leased }) => count(leased), align: 'right' },
      { title: 'BUILD', value: ({ build }) => printable(build), optional: true },
    ],
    terminal,
  );
  return `${head}\n${rows}`;
}

const stalledText = ({ stalledPartitions }: pb.ScalingSignals) =>
  stalledPartitions > 0
    ? `${counted(stalledPartitions, 'partition')}: nothing of it is committed`
    : 'nothing has been completed for long';
