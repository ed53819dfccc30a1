// flowmesh queue effects, stream effects: what the handling of a job or record did.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import { plain } from '../json.ts';
import { whole } from '../parsing.ts';
import { table } from '../table.ts';
import { clock, count, preview, printable } from '../text.ts';

interface Options {
  limit: number;
}

const PAGE = 500;

export function addJobEffects(queue: Command, action: Action): void {
  queue
    .command('effects <job>')
    .description('what the handling of a job did: jobs, records, keys')
    .option('--limit <n>', 'effects at most; 0 is all of them', whole(0), 100)
    .action(
      action((context: Context, options: Options, job: string) => show(context, options, { jobId: job })),
    );
}

export function addRecordEffects(stream: Command, action: Action): void {
  stream
    .command('effects <stream>')
    .argument('<partition>', undefined, whole(0))
    .argument('<offset>', undefined, whole(0))
    .description('what the handling of a record did: jobs, records, keys')
    .option('--limit <n>', 'effects at most; 0 is all of them', whole(0), 100)
    .action(
      action((context: Context, options: Options, name: string, partition: number, offset: number) =>
        show(context, options, { record: { stream: name, partition, offset } }),
      ),
    );
}

async function show(context: Context, { limit }: Options, of: pb.ListEffectsRequestInput): Promise<void> {
  const api = await context.api();
  const effects: pb.Effect[] = [];
  let cursor = '';
  let knownSinceMs = 0;
  do {
    const size = limit === 0 ? PAGE : Math.min(PAGE, limit - effects.length);
    const page = await api.listEffects({ ...of, cursor, limit: size });
    effects.push(...page.effects);
    ({ cursor, knownSinceMs } = page);
  } while (cursor !== '' && (limit === 0 || effects.length < limit));
  const { terminal } = context;
  const now = terminal.nowMs();
  context.show({ effects: effects.map(plain), isComplete: cursor === '', knownSinceMs }, () =>
    effects.length === 0
      ? ''
      : table(
          effects,
          [
            { title: 'TIME', value: ({ timeMs }) => clock(timeMs, now) },
            { title: 'DELIVERY', value: ({ deliveryId }) => printable(deliveryId), optional: true },
            { title: '#', value: ({ ordinal }) => String(ordinal), align: 'right' },
            { title: 'WHAT', value: ({ kind }) => kind },
            { title: 'TARGET', value: (row) => target(row), flexible: true },
            { title: 'AT', value: ({ shard, position }) => `${shard}/${position}` },
          ],
          terminal,
        ),
  );
  if (effects.length === 0) context.hint('no effects are known');
  if (cursor !== '') context.hint(`more effects than ${count(limit)}; all of them: --limit 0`);
  if (knownSinceMs > 0) context.hint(`what happened before ${clock(knownSinceMs, now)} may be forgotten`);
}

function target({ change, keyspace, stream, partition, offset, group, queue, jobId }: pb.Effect): string {
  if (change) {
    const names = change.members.slice(0, 3).map(({ name }) => preview(name));
    const more = change.members.length > 3 ? ', ...' : '';
    const members = names.length > 0 ? ` (${names.join(', ')}${more})` : '';
    const space = keyspace === 'default' ? '' : `${printable(keyspace)}: `;
    return `${space}${preview(change.key)}${members}`;
  }
  const at = `${printable(stream)}/${partition} ${offset}`;
  if (stream !== '') return group === '' ? at : `${at} of ${printable(group)}`;
  return [printable(queue), jobId].filter(Boolean).join(' ');
}
