// flowmesh queue drain, redrive-start, redrive-status, redrive-cancel: what takes a while on the server.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import { plain } from '../json.ts';
import { whole } from '../parsing.ts';
import { details } from '../table.ts';
import { clock, count, printable, relative, span } from '../text.ts';

export function addRedriveTaskCommands(queue: Command, action: Action): void {
  queue
    .command('drain <queue>')
    .description('refuse new jobs and finish those that are there')
    .option('--off', 'take jobs again')
    .action(action(drain));
  queue
    .command('redrive-start <dead-letter-queue>')
    .description('have the server move dead jobs back, at a rate, to any queue')
    .option('--to <queue>', 'move all of them here')
    .option('--max <n>', 'jobs at most', whole(1))
    .option('--rate <n>', 'jobs per second at most (as fast as it goes)', whole(1, 1_000_000))
    .option('--park-after <n>', 'set jobs aside that were redriven this often (3)', whole(1, 1_000_000))
    .action(action(start));
  queue
    .command('redrive-status <dead-letter-queue>')
    .description('how far the newest redrive is')
    .action(action(status));
  queue
    .command('redrive-cancel <dead-letter-queue>')
    .description('stop it; what was not moved stays where it is')
    .action(action(cancel));
}

async function drain(context: Context, { off = false }: { off?: boolean }, queue: string): Promise<void> {
  const api = await context.api();
  const { unfinished } = await api.setDraining({ queue, draining: !off, mutation: api.mutation() });
  const left = `${count(unfinished)} to finish`;
  context.show({ queue, draining: !off, unfinished }, () =>
    off ? `${printable(queue)} takes jobs again\n` : `${printable(queue)} takes no new jobs, ${left}\n`,
  );
}

interface StartOptions {
  to?: string;
  max?: number;
  rate?: number;
  parkAfter?: number;
}

async function start(context: Context, o: StartOptions, queue: string): Promise<void> {
  const api = await context.api();
  const { max, rate: perSecond, parkAfter } = o;
  const mutation = api.mutation();
  show(context, await api.startRedrive({ queue, targetQueue: o.to, max, perSecond, parkAfter, mutation }));
}

async function status(context: Context, _: unknown, queue: string): Promise<void> {
  const api = await context.api();
  show(context, await api.getRedrive({ queue }));
}

async function cancel(context: Context, _: unknown, queue: string): Promise<void> {
  const api = await context.api();
  show(context, await api.cancelRedrive({ queue, mutation: api.mutation() }));
}

function show(context: Context, task: pb.RedriveTask): void {
  context.show(plain(task), () => taskDetails(task, context));
}

function taskDetails(task: pb.RedriveTask, { terminal }: Context): string {
  const now = terminal.nowMs();
  const took = task.endedAtMs > 0 ? `, took ${span(task.endedAtMs - task.startedAtMs)}` : '';
  return details(
    [
      ['redrive', `${task.number} of ${printable(task.queue)}`],
      ['state', task.error === '' ? task.state : `${task.state}: ${printable(task.error)}`],
      ['to', printable(task.targetQueue) || 'where each job came from'],
      ['moved', `${count(task.moved)}, ${count(task.remaining)} still wait`],
      ['parked', task.parked > 0 ? `${count(task.parked)} in ${printable(task.queue)}.parked` : ''],
      ['rate', task.perSecond > 0 ? `${count(task.perSecond)} a second` : ''],
      ['started', `${clock(task.startedAtMs, now)}, ${relative(task.startedAtMs, now)}${took}`],
    ],
    terminal,
  );
}
