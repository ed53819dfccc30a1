// The schema half of the admin API: declare, show, delete.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { FigureSources } from '../admin/figures.ts';
import {
  type Claim,
  isSameOwner,
  type Owner,
  ownershipMessage,
  readClaim,
  readOwner,
  renamed,
} from '../admin/ownership.ts';
import type { AdminService } from '../services.ts';
import { mutationOf } from '../shard/mutation.ts';
import type { Caller } from '../shard/state-machine.ts';
import { newestOf } from './declare.ts';
import type { SchemaRegistry } from './registry.ts';
import { checkSchemaName, readTerms, specMessage } from './spec.ts';
import type { SchemaRow } from './tables.ts';

export type SchemaAdmin = Pick<
  AdminService,
  'applySchema' | 'getSchema' | 'listSchemas' | 'deleteSchema' | 'declareSchema'
> & {
  release(caller: Caller, request: pb.ReleaseOwnerRequest): Promise<pb.ReleaseOwnerResponseInput>;
  readonly figures: FigureSources['schema'];
};

export function createSchemaAdmin(registry: SchemaRegistry): SchemaAdmin {
  const describe = async ({ tenant }: Caller, name: string): Promise<pb.SchemaInput> => {
    const row = registry.need(tenant, name);
    const message = toSchema(row, registry.users(tenant).get(name) ?? 0);
    // Looked at first, then settled: what is shown is durable when it leaves.
    await registry.settled();
    return message;
  };
  const declare = (caller: Caller, spec: pb.SchemaSpec, claim?: Claim) => {
    checkSchemaName(spec.name);
    return registry.declare(caller, spec.name, readTerms(spec), {
      claim,
      mutation: mutationOf(spec.mutation),
    });
  };
  const refuseRename = ({ tenant }: Caller, name: string, owner: Owner) => {
    for (const { name: has, ownership } of registry.all(tenant))
      if (has !== name && ownership !== null && isSameOwner(ownership.owner, owner))
        throw renamed('schema', has);
  };
  const askedBy = (owner: pb.Owner | null, mutation: pb.Mutation | null) => ({
    owner: owner === null ? undefined : readOwner(owner),
    mutation: mutationOf(mutation),
  });
  return {
    async applySchema(caller, spec) {
      await declare(caller, spec);
      return describe(caller, spec.name);
    },
    async declareSchema(caller, request) {
      if (request.spec === null) throw new FlowError('INVALID_ARGUMENT', 'spec is missing');
      const { spec } = request;
      const claim = readClaim(request);
      refuseRename(caller, spec.name, claim.owner);
      const { result, changes = [], drifted } = await declare(caller, spec, claim);
      return { schema: await describe(caller, spec.name), result, changes: [...changes], drifted };
    },
    async release(caller, { name, owner, mutation }) {
      return { released: await registry.release(caller, name, askedBy(owner, mutation)) };
    },
    figures: {
      names: (tenant) => registry.all(tenant).map(({ name }) => name),
      // Once for a page: it looks at every queue and stream.
      summaries(tenant, names) {
        const users = registry.users(tenant);
        return names.flatMap((name) => {
          const row = registry.find(tenant, name);
          return row === undefined ? [] : [summaryOf(row, users.get(name) ?? 0)];
        });
      },
    },
    getSchema: (caller, { name }) => describe(caller, name),
    async listSchemas({ tenant }) {
      const users = registry.users(tenant);
      const rows = registry.all(tenant).sort((a, b) => (a.name < b.name ? -1 : 1));
      const schemas = rows.map((row) => withoutTexts(toSchema(row, users.get(row.name) ?? 0)));
      await registry.settled();
      return { schemas };
    },
    async deleteSchema(caller, { name, owner, mutation }) {
      await registry.delete(caller, name, askedBy(owner, mutation));
      return {};
    },
  };
}

const toSchema = (row: SchemaRow, users: number): pb.SchemaInput => ({
  spec: specMessage(row),
  latestVersion: newestOf(row).version,
  users,
  createdAtMs: row.createdAtMs,
  ...ownershipMessage(row.ownership),
});

/** Lists say which versions there are; what they hold could be more than a message. */
const withoutTexts = (schema: pb.SchemaInput): pb.SchemaInput => ({
  ...schema,
  spec: { ...schema.spec, versions: schema.spec?.versions?.map(({ version }) => ({ version })) ?? [] },
});

const summaryOf = (row: SchemaRow, users: number): pb.SchemaSummaryInput => ({
  name: row.name,
  latestVersion: newestOf(row).version,
  versions: row.versions.length,
  users,
  ownerUid: row.ownership?.owner.uid ?? '',
  generation: row.ownership?.generation ?? 0,
  drifted: row.ownership?.isDrifted ?? false,
});
