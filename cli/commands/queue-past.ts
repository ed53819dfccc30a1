// flowmesh queue get --at, queue jobs --at: a queue at an earlier moment.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Context } from '../context.ts';
import { jsonField } from '../json.ts';
import { details, table } from '../table.ts';
import { clock, count, preview, printable } from '../text.ts';

export interface AtOption {
  at?: (nowMs: number) => number;
}

const states = ['waiting', 'delayed', 'retrying', 'blocked', 'leased', 'dead', 'waiting_children'] as const;

export async function getAt(context: Context, timeMs: number, queue: string): Promise<void> {
  const api = await context.api();
  const then = await api.getQueueAt({ queue, timeMs });
  const { terminal } = context;
  const countIn = (state: (typeof states)[number]) =>
    state === 'waiting_children' ? then.waitingChildren : then[state];
  const figures = Object.fromEntries(states.map((state) => [state, countIn(state)]));
  context.show({ queue, timeMs, position: then.position, ...figures }, () =>
    details(
      [
        ['queue', printable(queue)],
        ['at', clock(timeMs, terminal.nowMs())],
        ...states.map((state): [string, string] => [state, count(countIn(state))]),
      ],
      terminal,
    ),
  );
}

interface Asked {
  timeMs: number;
  state: string;
  limit: number;
}

export async function jobsAt(
  context: Context,
  { timeMs, state, limit }: Asked,
  queue: string,
): Promise<void> {
  const api = await context.api();
  const found: pb.Job[] = [];
  let cursor = '';
  do {
    const size = Math.min(500, limit - found.length);
    const page = await api.listJobsAt({
      queue,
      state,
      limit: size,
      cursor,
      ...(cursor === '' && { timeMs }),
    });
    found.push(...page.jobs);
    cursor = page.cursor;
  } while (cursor !== '' && found.length < limit);
  const { terminal } = context;
  const now = terminal.nowMs();
  const json = found.map(({ id, state: was, enqueuedAtMs, payload, contentType }) => ({
    ...{ id, state: was, enqueuedAtMs },
    ...jsonField('payload', payload, contentType),
  }));
  context.show({ jobs: json, isComplete: cursor === '' }, () =>
    found.length === 0
      ? ''
      : table(
          found,
          [
            { title: 'JOB', value: ({ id }) => id },
            { title: 'STATE', value: (row) => row.state },
            {
              title: 'ENQUEUED',
              value: ({ enqueuedAtMs }) => (enqueuedAtMs > 0 ? clock(enqueuedAtMs, now) : '-'),
            },
            { title: 'KEY', value: ({ key }) => preview(key) || '-', flexible: true },
            { title: 'PAYLOAD', value: ({ payload }) => preview(payload), flexible: true },
          ],
          terminal,
        ),
  );
  if (found.length === 0) context.hint(`no ${state === '' ? 'unfinished' : state} jobs were in ${queue}`);
  if (cursor !== '') context.hint(`more jobs than ${count(limit)}; see --limit`);
}
