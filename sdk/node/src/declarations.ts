// Declarations in the name of an owner, figures of everything, and a watch of what becomes of declarations:
// what an operator is made of.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { CallOptions } from './calls.ts';
import type { Connection } from './connection.ts';
import { followed } from './following.ts';

/** Who declares something and changes it from then on. */
export interface Owner {
  /** Of this owner and no other, for ever. */
  uid: string;
  kind?: string | undefined;
  namespace?: string | undefined;
  name?: string | undefined;
  /** Where uids are unique, if there may be several such places. */
  clusterUid?: string | undefined;
}

export interface Declaration {
  owner: Owner;
  /** Grows with each change of the declaration, from 1; an older one is refused with STALE_GENERATION. */
  generation: number;
  /** Whether to take over what is there and has no owner. Default: if_identical. */
  adoption?: 'if_identical' | 'always' | 'never' | undefined;
}

export interface OwnerOptions extends CallOptions {
  /** Only if this is the owner: OWNED_BY_OTHER. */
  owner?: Owner | undefined;
}

export type DeclaredKind = 'queue' | 'schema' | 'stream';

export interface FiguresOptions extends CallOptions {
  /** Only these. */
  kind?: DeclaredKind | undefined;
  /** Queues, schemas and streams a page. Default: 1,000. */
  pageSize?: number | undefined;
  /** Counts to two significant digits: small changes change nothing. */
  bucketed?: boolean | undefined;
}

export interface Figures {
  queues: readonly pb.QueueSummary[];
  schemas: readonly pb.SchemaSummary[];
  streams: readonly pb.StreamSummary[];
}

export async function listFigures(connection: Connection, options: FiguresOptions): Promise<Figures> {
  const { kind, pageSize: limit, bucketed } = options;
  const queues: pb.QueueSummary[] = [];
  const schemas: pb.SchemaSummary[] = [];
  const streams: pb.StreamSummary[] = [];
  let cursor = '';
  do {
    const request = { kind, cursor, limit, bucketed };
    const page = await connection.call(connection.admin, connection.admin.listFigures, request, options);
    queues.push(...page.queues);
    schemas.push(...page.schemas);
    streams.push(...page.streams);
    cursor = page.cursor;
  } while (cursor !== '');
  return { queues, schemas, streams };
}

export interface AdminWatchOptions {
  /** Of a change of an earlier watch: what was missed since is told first. */
  resumeToken?: string | undefined;
  /** Default: all. */
  kinds?: readonly DeclaredKind[] | undefined;
  /**
   * Called when the server has taken up the watch, and whenever it takes it up again: what is listed from
   * then on misses nothing.
   */
  onWatching?: (() => void) | undefined;
  /** Aborting ends the loop as if there were no more changes. */
  signal?: AbortSignal | undefined;
}

/** What became of a declaration, as it is now. */
export interface DeclarationChange {
  change: 'declared' | 'changed' | 'deleted';
  kind: DeclaredKind;
  name: string;
  owner: pb.Owner | undefined;
  generation: number;
  /** Somebody else changed it since its owner declared it. */
  drifted: boolean;
  /** For a watch that misses nothing from here on; it may tell this change again. */
  resumeToken: string;
}

export async function* watchDeclarations(
  connection: Connection,
  options: AdminWatchOptions,
): AsyncGenerator<DeclarationChange, void, void> {
  const { signal } = options;
  const kinds = [...(options.kinds ?? [])];
  let resumeToken = options.resumeToken ?? '';
  const messages = followed(
    connection,
    ({ admin }) => admin.watchAdmin({ resumeToken, kinds }, connection.metadata()),
    options,
  );
  for await (const message of messages) {
    for (const change of message.changes) {
      yield changeOf(change, resumeToken);
      if (signal?.aborted) return;
    }
    // Part of a batch that goes on has none: only behind the last part is nothing missed.
    resumeToken = message.resumeToken || resumeToken;
  }
}

const changeOf = (
  { change, kind, name, owner, generation, drifted }: pb.AdminChange,
  resumeToken: string,
): DeclarationChange => ({
  change: change as DeclarationChange['change'],
  kind: kind as DeclaredKind,
  name,
  owner: owner ?? undefined,
  generation,
  drifted,
  resumeToken,
});
