// The part of the admin API that is about declarations as such, whatever is declared.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { AdminService } from '../services.ts';
import type { Caller } from '../shard/state-machine.ts';
import { AdminFeed, type FeedParts } from './feed.ts';
import { type FigureSources, listFigures } from './figures.ts';

/** What each kind of declared things brings. */
interface Releases {
  release(caller: Caller, request: pb.ReleaseOwnerRequest): Promise<pb.ReleaseOwnerResponseInput>;
}

export interface DeclarationParts extends FeedParts {
  readonly kinds: Readonly<Record<'queue' | 'schema' | 'stream', Releases>>;
  readonly figures: FigureSources;
}

export type Declarations = Pick<AdminService, 'releaseOwner' | 'listFigures' | 'openWatch'>;

export function createDeclarations({ kinds, figures, ...feedParts }: DeclarationParts): Declarations {
  const feed = new AdminFeed(feedParts);
  return {
    async releaseOwner(caller, request) {
      const { kind } = request;
      if (kind === 'queue' || kind === 'schema' || kind === 'stream')
        return kinds[kind].release(caller, request);
      throw new FlowError('INVALID_ARGUMENT', `kind is queue, schema or stream, not ${kind}`);
    },
    listFigures: (caller, request) => listFigures(figures, caller, request),
    openWatch: (caller, request, send, fail) => feed.open(caller, request, send, fail),
  };
}
