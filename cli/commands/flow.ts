// flowmesh queue flow: a tree of jobs from a file; and the tree below a job, for who looks at one.
import { readFile, stat } from 'node:fs/promises';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import { parseDurationMs } from '../../crds/values.ts';
import { parseYaml, YAML_LIMITS } from '../../crds/yaml-source.ts';
import type { Api } from '../client.ts';
import type { Action, Context } from '../context.ts';
import { CliError, usage } from '../failure.ts';
import { readInput } from '../input.ts';
import { count, preview, printable } from '../text.ts';

export function addFlowCommand(queue: Command, action: Action): void {
  queue
    .command('flow <file>')
    .description('enqueue a tree of jobs, YAML or JSON, all or nothing; - is standard input')
    .action(action(flow));
}

const SHOWN_MAX = 100;
const FIELDS = new Set([
  ...['queue', 'payload', 'name', 'onFailure', 'children', 'key', 'limitKey', 'delay', 'priority'],
  ...['dedupKey', 'dedupMode', 'dedupWindow', 'timeout', 'headers'],
]);

interface Branch {
  readonly text: string;
  readonly children: Branch[];
}

async function flow(context: Context, _: unknown, file: string): Promise<void> {
  const nodes = nodesOf(await readTree(context, file));
  const api = await context.api();
  const { jobs } = await api.enqueueFlow({ nodes, mutation: api.mutation() });
  const [root] = jobs;
  if (root?.deduplicated) {
    context.show({ id: root.id, deduplicated: true }, () => `${root.id}  (an earlier root with the key)\n`);
    return;
  }
  const shown = jobs.map(({ id }, i) => {
    const { queue = '', name = '', parent = 0 } = nodes[i] ?? {};
    return { id, queue, ...(name ? { name } : {}), ...(i > 0 ? { parent: jobs[parent ?? 0]?.id } : {}) };
  });
  context.show({ jobs: shown }, () => {
    const branches = shown.map(({ id, queue, name }): Branch => {
      const text = [id, printable(queue ?? ''), printable(name ?? '')].filter(Boolean).join('  ');
      return { text, children: [] };
    });
    for (let i = 1; i < branches.length; i++)
      branches[nodes[i]?.parent ?? 0]?.children.push(branches[i] as Branch);
    return drawn(branches.slice(0, 1));
  });
}

async function readTree({ terminal }: Context, file: string): Promise<unknown> {
  let text: string;
  if (file === '-') text = Buffer.from(await readInput(terminal.stdin)).toString();
  else {
    const found = await stat(file).catch(() => undefined);
    if (!found?.isFile()) throw new CliError(`${printable(file)} is not a file`, 'name one, or - for a pipe');
    if (found.size > YAML_LIMITS.bytes)
      throw new CliError(`${printable(file)} has ${count(found.size)} bytes`, 'at most 1 MiB is read');
    text = await readFile(file, 'utf8');
  }
  const { documents, problems } = parseYaml(text);
  const [problem] = problems;
  if (problem !== undefined)
    throw new CliError(`${printable(file)}:${problem.line}: ${problem.message}`, problem.cure);
  if (documents.length !== 1)
    throw new CliError(`${printable(file)} has ${documents.length} documents`, 'a flow is one tree');
  return documents[0]?.value;
}

/** In pre-order. */
function nodesOf(root: unknown): pb.FlowNodeInput[] {
  const nodes: pb.FlowNodeInput[] = [];
  const stack = [{ value: root, path: 'root', parent: 0 }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { value, path, parent } = next;
    const at = nodes.push(nodeOf(value, path, parent)) - 1;
    const { children = [] } = value as { children?: unknown };
    if (!Array.isArray(children)) throw usage(`${path}.children is not a list`, 'list jobs, or leave it out');
    for (let i = children.length - 1; i >= 0; i--)
      stack.push({ value: children[i], path: `${path}.children[${i}]`, parent: at });
  }
  return nodes;
}

function nodeOf(value: unknown, path: string, parent: number): pb.FlowNodeInput {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw usage(`${path} is not a job`, 'write queue, payload and, below children, the jobs it waits for');
  const job = value as Record<string, unknown>;
  const unknown = Object.keys(job).find((field) => !FIELDS.has(field));
  if (unknown !== undefined)
    throw usage(`${path} has an unknown field ${printable(unknown)}`, `give ${[...FIELDS].join(', ')}`);
  const text = (field: string): string | undefined => {
    const given = job[field];
    if (given !== undefined && typeof given !== 'string')
      throw usage(`${path}.${field} is not text`, 'put it in quotes');
    return given;
  };
  const ms = (field: string): number | undefined => {
    const given = text(field);
    const parsed = given === undefined ? 0 : parseDurationMs(given);
    if (parsed === undefined)
      throw usage(`${path}.${field} is not a duration`, 'write 500ms, 90s, 5m, 24h or 7d');
    return given === undefined ? undefined : parsed;
  };
  const queue = text('queue');
  if (queue === undefined) throw usage(`${path}.queue is missing`, 'say where the job goes');
  const { payload = null, priority, headers } = job;
  if (priority !== undefined && !Number.isInteger(priority))
    throw usage(`${path}.priority is not a number`, 'write 0 to 255');
  const isText = typeof payload === 'string';
  const [key, limitKey] = [text('key'), text('limitKey')];
  return {
    ...{ queue, parent, name: text('name'), onFailure: text('onFailure') },
    job: {
      payload: Buffer.from(isText ? payload : JSON.stringify(payload)),
      contentType: isText ? 'text/plain' : 'application/json',
      key: key === undefined ? undefined : Buffer.from(key),
      limitKey: limitKey === undefined ? undefined : Buffer.from(limitKey),
      priority: priority as number | undefined,
      delayMs: ms('delay'),
      timeoutMs: ms('timeout'),
      dedupKey: text('dedupKey'),
      dedupMode: text('dedupMode'),
      dedupWindowMs: ms('dedupWindow'),
      headers: headersOf(headers, path),
    },
  };
}

function headersOf(headers: unknown, path: string): Record<string, Uint8Array> | undefined {
  if (headers === undefined) return undefined;
  const entries = Object.entries(headers ?? {}).map(([name, value]) => {
    if (typeof value !== 'string') throw usage(`${path}.headers.${printable(name)} is not text`, 'quote it');
    return [name, Buffer.from(value)] as const;
  });
  return Object.fromEntries(entries);
}

/** The tree below a job, down to SHOWN_MAX children in all. */
export async function childTree(api: Api, { queue, id, children }: pb.Job): Promise<Branch[]> {
  if (!children?.total) return [];
  let left = SHOWN_MAX;
  const roots: Branch[] = [];
  const waiting = [{ queue, id, into: roots }];
  for (let next = waiting.shift(); next !== undefined && left > 0; next = waiting.shift()) {
    const { into } = next;
    const page = await api.listChildren({ queue: next.queue, id: next.id, limit: left });
    left -= page.children.length;
    for (const child of page.children) {
      const why = child.error ? `${child.state}: ${printable(child.error)}` : child.state;
      const result = child.resultContentType ? `-> ${preview(child.result)}` : '';
      const words = [child.id, printable(child.queue), printable(child.name), why, result];
      const branch: Branch = { text: words.filter(Boolean).join('  '), children: [] };
      into.push(branch);
      if (child.id !== '') waiting.push({ queue: child.queue, id: child.id, into: branch.children });
    }
    if (page.cursor !== '') into.push({ text: `... of ${count(page.counts?.total ?? 0)}`, children: [] });
  }
  return roots;
}

/** A line for each branch. */
export function drawn(branches: readonly Branch[], indent = '', isRoot = true): string {
  return branches
    .map(({ text, children }, i) => {
      const isLast = i === branches.length - 1;
      const [corner, below] = isRoot ? ['', ''] : isLast ? ['└─ ', '   '] : ['├─ ', '│  '];
      return `${indent}${corner}${text}\n${drawn(children, indent + below, false)}`;
    })
    .join('');
}
