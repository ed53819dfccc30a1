// flowmesh status and version: is it there, is it well, what is it.
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import type { DevHost } from '../dev/dev.ts';
import { CliError, explain } from '../failure.ts';
import { plainWithout } from '../json.ts';
import { details, table } from '../table.ts';
import { count, counted, dataSize, printable } from '../text.ts';

export function addStatusCommands(program: Command, action: Action, { version }: DevHost): void {
  program.command('status').description('state of the fabric and its shards').action(action(status));
  program
    .command('version')
    .description('version of this command line, and of the server if there is one')
    .action(action((context) => showVersion(context, version)));
}

async function status(context: Context): Promise<void> {
  const api = await context.api();
  const [cluster, { queues }, { streams }, { keyspaces }] = await Promise.all([
    api.getCluster({}),
    api.listQueues({}),
    api.listStreams({}),
    api.listKeyspaces({}),
  ]);
  const sum = (values: number[]) => values.reduce((total, each) => total + each, 0);
  const totals = {
    queues: queues.length,
    waiting: sum(queues.map(({ figures }) => figures?.waiting ?? 0)),
    leased: sum(queues.map(({ figures }) => figures?.leased ?? 0)),
    streams: streams.length,
    records: sum(streams.flatMap(({ partitions }) => partitions.map(({ end, logStart }) => end - logStart))),
    keys: sum(keyspaces.map(({ keys }) => keys)),
  };
  const unwell = cluster.shardFigures.filter(({ state }) => state !== 'serving');
  const { address } = context.globals;
  context.show({ address, ...plainWithout(cluster), totals }, () => statusText(context, cluster, totals));
  if (unwell.length === 0) return;
  const shards = unwell.map(({ shard, state }) => `shard ${shard} is ${state}`).join(', ');
  throw new CliError(shards, 'see the log of the server');
}

type Cluster = Awaited<ReturnType<Awaited<ReturnType<Context['api']>>['getCluster']>>;

interface Totals {
  queues: number;
  waiting: number;
  leased: number;
  streams: number;
  records: number;
  keys: number;
}

function statusText({ terminal, globals }: Context, cluster: Cluster, totals: Totals): string {
  const { green, red } = terminal.colors;
  const { version, clusterId, autoCreate, shardFigures } = cluster;
  const isWell = shardFigures.every(({ state }) => state === 'serving');
  const head = details(
    [
      ['FlowMesh', `${version} at ${globals.address}, ${isWell ? green('serving') : red('not well')}`],
      ['cluster', printable(clusterId)],
      [
        'queues',
        `${count(totals.queues)}, ${counted(totals.waiting, 'job')} waiting, ${count(totals.leased)} leased`,
      ],
      ['streams', `${count(totals.streams)}, ${counted(totals.records, 'record')}`],
      ['keys', count(totals.keys)],
      ['undeclared', autoCreate ? 'appear at first use' : 'are refused'],
    ],
    terminal,
  );
  const shards = table(
    shardFigures,
    [
      { title: 'SHARD', value: ({ shard }) => String(shard), align: 'right' },
      {
        title: 'STATE',
        value: ({ state }) => state,
        paint: (text, { state }) => (state === 'serving' ? green : red)(text),
      },
      { title: 'JOURNAL', value: ({ journalBytes }) => dataSize(journalBytes), align: 'right' },
      { title: 'POSITION', value: ({ journalPosition }) => count(journalPosition), align: 'right' },
      { title: 'DURABLE', value: ({ durablePosition }) => count(durablePosition), align: 'right' },
      { title: 'CHECKPOINT', value: ({ checkpointPosition }) => count(checkpointPosition), align: 'right' },
    ],
    terminal,
  );
  return `${head}\n${shards}`;
}

async function showVersion(context: Context, version: string): Promise<void> {
  const { address } = context.globals;
  // Without a server this is still the answer to what was asked.
  const server = await context
    .api()
    .then((api) => api.getCluster({}, { deadlineMs: 3000 }))
    .catch((error: unknown) => explain(error, address));
  const node = process.version;
  const isThere = 'version' in server;
  context.show({ version, node, server: isThere ? { address, version: server.version } : null }, () => {
    const rest = isThere ? `${server.version} at ${address}` : server.message;
    return details(
      [
        ['flowmesh', version],
        ['node', node],
        ['server', printable(rest)],
      ],
      context.terminal,
    );
  });
}
