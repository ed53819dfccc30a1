// Who declares a queue, schema or stream, and how to let go of an owner that is gone for good.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import type { Action, Context } from '../context.ts';
import { plain } from '../json.ts';
import { confirm } from '../prompt.ts';
import { printable } from '../text.ts';

type Kind = 'queue' | 'schema' | 'stream';

export function addDisownCommand(group: Command, action: Action, kind: Kind): void {
  group
    .command(`disown <${kind}>`)
    .description(`let nobody own a ${kind} any more, if its owner is gone for good; it stays as it is`)
    .option('-y, --yes', 'do not ask')
    .action(action(disown(kind)));
}

interface Owned {
  owner: pb.Owner | null;
  generation: number;
  drifted: boolean;
}

/** `Queue shop/emails, generation 3; changed by somebody else`; empty: nobody owns it. */
export function ownerText({ owner, generation, drifted }: Owned): string {
  if (owner === null) return '';
  const path = [owner.namespace, owner.name].filter(Boolean).join('/');
  const who = [owner.kind, path].filter(Boolean).join(' ') || owner.uid;
  return `${printable(who)}, generation ${generation}${drifted ? '; changed by somebody else since' : ''}`;
}

export const ownerJson = ({ owner, generation, drifted }: Owned) =>
  owner === null ? {} : { owner: plain(owner), generation, drifted };

const disown =
  (kind: Kind) =>
  async (context: Context, { yes }: { yes?: boolean }, name: string): Promise<void> => {
    const api = await context.api();
    const get = { queue: api.getQueue, schema: api.getSchema, stream: api.getStream }[kind];
    const thing: Owned = await get({ name });
    const owner = ownerText(thing);
    const done = (released: boolean) =>
      context.show({ [kind]: name, released }, () =>
        released ? `${printable(name)} has no owner any more\n` : `${printable(name)} has no owner\n`,
      );
    if (owner === '') return done(false);
    await confirm(context.terminal, `Take ${name} from ${owner}? If it is there, it takes it back.`, yes);
    const { released } = await api.releaseOwner({ kind, name, mutation: api.mutation() });
    done(released);
  };
