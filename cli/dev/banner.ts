// What `flowmesh dev` says to a person: where it listens, what it serves, what to try, and what each reload
// changed.

import type { SourcedResource } from '../../crds/manifests.ts';
import { servedName } from '../../crds/manifests.ts';
import { explain } from '../failure.ts';
import { noticeText, problemText } from '../manifest-files.ts';
import type { Outcome } from '../reconcile.ts';
import type { Terminal } from '../terminal.ts';
import { printable, width } from '../text.ts';
import type { Reload } from './reload.ts';

export interface Running {
  version: string;
  host: string;
  grpcPort: number;
  httpPort: number;
  /** undefined: somebody else has the port. */
  redisPort: number | undefined;
  dataDir: string | null;
  shards: number;
  token: boolean;
  insecure: boolean;
  manifests: string[];
  outcomes: Outcome[];
  resources: readonly SourcedResource[];
}

/** A port without the host that everybody means anyway. */
const reachable = (host: string) => (/^(?:0\.0\.0\.0|::|127\.0\.0\.1|::1)$/.test(host) ? 'localhost' : host);

export function bannerText(running: Running, { colors }: Terminal): string {
  const { bold, dim, green, cyan } = colors;
  const host = reachable(running.host);
  const rows: [string, string, string][] = [
    ['gRPC', `${host}:${running.grpcPort}`, 'SDKs and this command line'],
    ['HTTP', `http://${host}:${running.httpPort}`, 'REST, /metrics, /readyz'],
    running.redisPort === undefined
      ? ['Redis', 'not served', 'port 6379 is taken; --redis-port 0 takes any']
      : ['Redis', `${host}:${running.redisPort}`, 'redis-cli, ioredis, redis-py'],
    [
      'data',
      running.dataDir ?? 'in memory',
      running.dataDir === null ? 'gone when this stops' : shardsText(running),
    ],
    ['access', accessText(running), ''],
  ];
  const room = Math.max(...rows.map(([, value]) => width(value)));
  const addresses = rows.map(([name, value, remark]) => {
    const blank = ' '.repeat(room - width(value) + 3);
    return `  ${dim(name.padEnd(7))} ${cyan(value)}${remark === '' ? '' : blank + dim(remark)}`;
  });
  const sections = [
    `${green('●')} ${bold(`FlowMesh ${running.version}`)} is running`,
    addresses.join('\n'),
    declaredText(running, colors),
    tryText(running, host, colors),
    dim(
      running.manifests.length > 0
        ? 'Manifests are watched: save one and it is applied. Ctrl-C stops.'
        : 'Ctrl-C stops.',
    ),
  ];
  return `\n${sections.filter(Boolean).join('\n\n')}\n\n`;
}

const shardsText = ({ shards }: Running) => `kept, ${shards === 1 ? '1 shard' : `${shards} shards`}`;

function accessText({ token, insecure, host }: Running): string {
  if (token) return 'with the token';
  return insecure && reachable(host) === host ? 'anyone who can reach it' : 'anyone on this machine';
}

function declaredText({ manifests, outcomes }: Running, colors: Terminal['colors']): string {
  if (manifests.length === 0) return '';
  if (outcomes.length === 0) return `  ${colors.dim(`nothing is declared in ${manifests.join(', ')}`)}`;
  const title = colors.dim(`declared in ${manifests.map((each) => printable(each)).join(', ')}`);
  return `  ${title}\n${outcomeLines(outcomes, colors, '    ')}`;
}

export function outcomeLines(
  outcomes: readonly Outcome[],
  colors: Terminal['colors'],
  indent = '  ',
): string {
  const room = Math.max(0, ...outcomes.map(({ name }) => width(printable(name))));
  return outcomes
    .map((outcome) => {
      const name = printable(outcome.name);
      const blank = ' '.repeat(room - width(name));
      const kind = colors.dim(outcome.kind.padEnd(7));
      return `${indent}${kind} ${colors.bold(name)}${blank}   ${resultText(outcome, colors)}`;
    })
    .join('\n');
}

export function resultText({ result, changes, error, source }: Outcome, colors: Terminal['colors']): string {
  switch (result) {
    case 'created':
      return colors.green('created');
    case 'changed':
      return colors.yellow(`changed: ${changes.map((each) => printable(each)).join(', ')}`);
    case 'unchanged':
      return colors.dim('unchanged');
    case 'refused': {
      const { message } = explain(error);
      return colors.red(`refused: ${printable(message)} (${source.file}:${source.line})`);
    }
  }
}

function tryText(
  { resources, httpPort, grpcPort, token }: Running,
  host: string,
  colors: Terminal['colors'],
): string {
  const queue = resources.find(({ kind }) => kind === 'Queue');
  const name = queue === undefined ? 'emails.send' : (servedName(queue) ?? '');
  const environment = [
    ...(grpcPort === 7070 && host === 'localhost' ? [] : [`FLOWMESH_ADDRESS=${host}:${grpcPort}`]),
    ...(token ? ['FLOWMESH_TOKEN=...'] : []),
  ];
  const authorization = token ? ' -H "authorization: Bearer $FLOWMESH_TOKEN"' : '';
  const lines = [
    ...(environment.length > 0 ? [`export ${environment.join(' ')}`] : []),
    `flowmesh queue enqueue ${name} '{"to":"ada@example.com"}'`,
    'flowmesh queue ls',
    // curl has a meaning of its own for braces.
    `curl ${host}:${httpPort}/v1/queues/${encodeURIComponent(name)}${authorization}`,
  ];
  return `  ${colors.dim('try')}\n${lines.map((line) => `    ${line}`).join('\n')}`;
}

export function reloadText(reload: Reload, terminal: Terminal): string {
  const { colors } = terminal;
  const time = colors.dim(new Date(terminal.nowMs()).toTimeString().slice(0, 8));
  switch (reload.kind) {
    case 'broken': {
      const mistakes = reload.problems.length === 1 ? 'a mistake' : `${reload.problems.length} mistakes`;
      const head = colors.red(`${mistakes} in the manifests; what was declared before stays in force`);
      const list = reload.problems.map((problem) => problemText(problem, colors));
      return [`${time} ${head}\n`, ...list].join('');
    }
    case 'failed':
      return `${time} ${colors.red(`not applied: ${printable(explain(reload.error).message)}`)}\n`;
    case 'applied': {
      const news = reload.outcomes.filter(({ result }) => result !== 'unchanged');
      const refused = news.filter(({ result }) => result === 'refused').length;
      const applied =
        refused === 0 ? 'manifests applied' : colors.red(`manifests applied, but for ${refused}`);
      const head = news.length === 0 ? colors.dim('manifests read again, nothing changed') : applied;
      const lines = news.length === 0 ? '' : `${outcomeLines(news, colors)}\n`;
      const forgotten = reload.forgotten.map((each) => {
        const remark = colors.dim(`it stays; to remove it: flowmesh ${each.replace(' ', ' delete ')}`);
        return `  ${printable(each)} is not declared any more: ${remark}\n`;
      });
      const notes = reload.notices.map((notice) => noticeText(notice, colors));
      return `${time} ${head}\n${lines}${forgotten.join('')}${notes.join('')}`;
    }
  }
}
