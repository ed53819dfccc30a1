// Figures of everything that is declared, in pages: what a status or a scaler polls.
//   G1. A queue costs as much as its counters, whatever it holds; a stream its partitions times its groups,
//       and a look at its log for each place where a group that lags stands.
//       Schemas of a page cost a look at what every queue and stream refers to.
//   G2. Pages go by kind and name, so what comes and goes between two pages disturbs none of the others.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Caller } from '../shard/state-machine.ts';

const LIMIT_DEFAULT = 1000;
const LIMIT_MAX = 5000;
/** In the order of pages. */
const KINDS = ['queue', 'schema', 'stream'] as const;
type Kind = (typeof KINDS)[number];

/** Where the figures of one kind come from. Absent ones have gone meanwhile. */
interface Source<Summary> {
  names(tenant: number): string[];
  summary(tenant: number, name: string): Promise<Summary | undefined> | Summary | undefined;
}

export interface FigureSources {
  readonly queue: Source<pb.QueueSummaryInput>;
  readonly schema: {
    names(tenant: number): string[];
    /** Of those that are still there. */
    summaries(tenant: number, names: readonly string[]): pb.SchemaSummaryInput[];
  };
  readonly stream: Source<pb.StreamSummaryInput>;
  /** All that has been looked at is durable. */
  settled(): Promise<unknown>;
}

export async function listFigures(
  sources: FigureSources,
  { tenant }: Caller,
  request: pb.ListFiguresRequest,
): Promise<pb.ListFiguresResponseInput> {
  const kinds = KINDS.filter((kind) => kind === (request.kind || kind));
  if (kinds.length === 0) throw invalid(`kind is one of ${KINDS.join(', ')}, not ${request.kind}`);
  const after = readCursor(request.cursor);
  const limit = Math.min(request.limit || LIMIT_DEFAULT, LIMIT_MAX);
  const page: { kind: Kind; name: string }[] = [];
  for (const kind of kinds) {
    if (after !== undefined && kind < after.kind) continue;
    const names = sources[kind].names(tenant).sort();
    for (const name of names) {
      if (after !== undefined && kind === after.kind && name <= after.name) continue;
      page.push({ kind, name });
      if (page.length > limit) break;
    }
    if (page.length > limit) break;
  }
  const isLast = page.length <= limit;
  const shown = page.slice(0, limit);
  const namesOf = (kind: Kind) => shown.flatMap((each) => (each.kind === kind ? [each.name] : []));
  const of = async <S>(kind: Kind, source: Source<S>): Promise<S[]> => {
    const summaries = await Promise.all(namesOf(kind).map((name) => source.summary(tenant, name)));
    return summaries.filter((each) => each !== undefined) as S[];
  };
  const [queues, streams] = [await of('queue', sources.queue), await of('stream', sources.stream)];
  const schemas = sources.schema.summaries(tenant, namesOf('schema'));
  await sources.settled();
  const last = shown.at(-1);
  return {
    queues: request.bucketed ? queues.map(bucketed) : queues,
    schemas,
    streams: request.bucketed ? streams.map(bucketed) : streams,
    cursor: isLast || last === undefined ? '' : writeCursor(last),
  };
}

/** Numbers that are no counts. */
const EXACT = new Set([
  'oldestReadyAtMs',
  'oldestUncommittedAtMs',
  'generation',
  'workers',
  'busyWorkers',
  'workersWanted',
  'members',
  'partitions',
]);

/** Counts to two significant digits. */
function bucketed<S extends object>(summary: S): S {
  const rounded = Object.entries(summary).map(([field, value]): [string, unknown] => {
    if (Array.isArray(value)) return [field, value.map(bucketed)];
    return [field, typeof value === 'number' && !EXACT.has(field) ? twoDigits(value) : value];
  });
  return Object.fromEntries(rounded) as S;
}

export function twoDigits(count: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))) - 1);
  return Math.floor(count / unit) * unit;
}

const writeCursor = ({ kind, name }: { kind: Kind; name: string }): string =>
  Buffer.from(`${kind} ${name}`).toString('base64url');

function readCursor(cursor: string): { kind: string; name: string } | undefined {
  if (cursor === '') return undefined;
  const [, kind, name] =
    /^(queue|schema|stream) ([\s\S]+)$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  if (kind === undefined || name === undefined) throw invalid('cursor is not one of a page of figures');
  return { kind, name };
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
