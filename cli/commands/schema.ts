// flowmesh schema: what schemas there are, and whether payloads match one.
//   V1. `validate` judges here, by the same code as the server: against what a server has, or what manifests
//       say.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { Command } from 'commander';
import { type Checker, checkWithin, compileChecker, type Violation } from '../../crds/payload/checker.ts';
import { SchemaProblem } from '../../crds/payload/problem.ts';
import { TOO_LONG } from '../../crds/payload/watchdog.ts';
import { toSchemaSpec } from '../../crds/translate.ts';
import type { Action, Context } from '../context.ts';
import { CliError, usage } from '../failure.ts';
import { lineSource, readInput } from '../input.ts';
import { plainWithout } from '../json.ts';
import { readManifests } from '../manifest-files.ts';
import { whole } from '../parsing.ts';
import { confirm } from '../prompt.ts';
import { details, table } from '../table.ts';
import { count, counted, printable } from '../text.ts';
import { addDisownCommand, ownerJson, ownerText } from './owner.ts';

export function addSchemaCommands(program: Command, action: Action): void {
  const schema = program.command('schema').description('what payloads of queues and streams look like');
  schema.command('ls').description('list schemas').action(action(list));
  schema.command('get <schema>').description('versions of a schema, and what they say').action(action(get));
  schema
    .command('validate <schema> [payload]')
    .description('check payloads against a schema; without one they come from standard input')
    .option('--file <path>', 'one payload a line; - is standard input')
    .option('--schema-version <n>', 'by this version (the newest)', whole(1))
    .option(
      '-f, --filename <path...>',
      'the schema of manifests, without a server',
      (path, all?: string[]) => [...(all ?? []), path],
    )
    .action(action(validate));
  schema
    .command('delete <schema>')
    .description('remove a schema that no queue and no stream refers to')
    .option('-y, --yes', 'do not ask')
    .action(action(remove));
  addDisownCommand(schema, action, 'schema');
}

/** `order@2`; without a version: the newest. Empty: none. */
export const schemaText = (ref: pb.SchemaRef | null | undefined): string =>
  ref ? printable(ref.version === 0 ? ref.name : `${ref.name}@${ref.version}`) : '';

const schemaJson = ({ spec, latestVersion, users, createdAtMs, ...of }: pb.Schema) => ({
  ...plainWithout(spec ?? {}, 'mutation'),
  versions: (spec?.versions ?? []).map(versionJson),
  ...{ latestVersion, users, createdAtMs },
  ...ownerJson(of),
});

const versionJson = ({ version, fields, jsonSchema, migrate }: pb.SchemaVersion) => {
  const said = Object.entries({ fields, jsonSchema, migrate });
  const parsed = said.flatMap(([name, text]) => (text === '' ? [] : [[name, JSON.parse(text)]]));
  return { version, ...Object.fromEntries(parsed) };
};

async function list(context: Context): Promise<void> {
  const api = await context.api();
  const { schemas } = await api.listSchemas({});
  context.show(schemas.map(schemaJson), () =>
    schemas.length === 0
      ? ''
      : table(
          schemas,
          [
            { title: 'SCHEMA', value: ({ spec }) => printable(spec?.name ?? ''), flexible: true },
            { title: 'NEWEST', value: ({ latestVersion }) => String(latestVersion), align: 'right' },
            { title: 'VERSIONS', value: ({ spec }) => count(spec?.versions.length ?? 0), align: 'right' },
            { title: 'USERS', value: ({ users }) => count(users), align: 'right' },
            { title: 'COMPATIBILITY', value: ({ spec }) => spec?.compatibility ?? '' },
          ],
          context.terminal,
        ),
  );
  if (schemas.length === 0)
    context.hint('no schemas yet; declare one (kind: Schema): flowmesh apply -f FILE');
}

async function get(context: Context, _: unknown, name: string): Promise<void> {
  const api = await context.api();
  const schema = await api.getSchema({ name });
  context.show(schemaJson(schema), () => {
    const { spec, users } = schema;
    const rows: [string, string][] = [
      ['schema', printable(spec?.name ?? '')],
      ['owner', ownerText(schema)],
      ['compatibility', spec?.compatibility ?? ''],
      ['users', count(users)],
    ];
    const versions = (spec?.versions ?? []).map((each): [string, string] => {
      const { version, ...said } = versionJson(each);
      return [`version ${version}`, printable(JSON.stringify(said))];
    });
    return details([...rows, ...versions], context.terminal);
  });
}

interface ValidateOptions {
  file?: string;
  schemaVersion?: number;
  filename?: string[];
}

interface Found extends Violation {
  line: number;
}

async function validate(context: Context, o: ValidateOptions, name: string, payload?: string): Promise<void> {
  if (payload !== undefined && o.file !== undefined) throw usage('a payload and --file', 'give one of them');
  const versions = o.filename ? await declaredIn(o.filename, context, name) : await servedBy(context, name);
  const version = versions.find((each) => each.version === (o.schemaVersion ?? versions.at(-1)?.version));
  if (version === undefined) {
    const known = versions.map((each) => each.version).join(', ');
    throw new CliError(`schema ${name} has no version ${o.schemaVersion}`, `it has ${known}`);
  }
  const checker = compiled(name, version);
  const violations: Found[] = [];
  let checked = 0;
  const look = (bytes: Uint8Array, line: number) => {
    checked++;
    const violation = checkWithin(bytes.length * checker.weight, () =>
      checker.check('application/json', bytes),
    );
    if (violation === TOO_LONG) violations.push({ line, field: '', what: 'takes too long to check' });
    else if (violation !== undefined) violations.push({ line, ...violation });
  };
  if (payload !== undefined) look(Buffer.from(payload), 1);
  else if (o.file === undefined) look(await readInput(context.terminal.stdin), 1);
  else {
    const source = await lineSource(o.file, context.terminal.stdin, context.terminal.interrupted());
    for await (const lines of source.chunks)
      for (const { text, number } of lines) look(Buffer.from(text), number);
  }
  const schema = `${name}@${version.version}`;
  context.show({ schema, checked, violations }, () => {
    if (violations.length === 0) return `${counted(checked, 'payload')} of ${printable(schema)}\n`;
    const lineOf = ({ line }: Found) => (o.file === undefined ? '' : `line ${line}: `);
    return violations
      .map((each) => `${lineOf(each)}${printable(each.field || 'the payload')} ${printable(each.what)}\n`)
      .join('');
  });
  if (violations.length > 0)
    throw new CliError(
      `${count(violations.length)} of ${counted(checked, 'payload')} do not match ${schema}`,
    );
}

type Version = Pick<pb.SchemaVersion, 'version' | 'fields' | 'jsonSchema'>;

async function servedBy(context: Context, name: string): Promise<Version[]> {
  const api = await context.api();
  return (await api.getSchema({ name })).spec?.versions ?? [];
}

async function declaredIn(paths: string[], context: Context, name: string): Promise<Version[]> {
  const { resources, problems } = await readManifests(paths, context.terminal.stdin);
  if (problems.length > 0)
    throw new CliError('the manifests have mistakes', `flowmesh validate -f ${paths.join(' ')}`);
  for (const resource of resources) {
    if (resource.kind !== 'Schema' || resource.metadata.name !== name) continue;
    return toSchemaSpec(resource).versions.map(({ version, fields = '', jsonSchema = '' }) => ({
      ...{ version, fields, jsonSchema },
    }));
  }
  throw new CliError(`there is no schema ${name} in ${paths.join(', ')}`, 'its name is metadata.name');
}

function compiled(name: string, version: Version): Checker {
  try {
    return compileChecker(version);
  } catch (error) {
    if (!(error instanceof SchemaProblem)) throw error;
    throw new CliError(`version ${version.version} of schema ${name}: ${error.message}`);
  }
}

async function remove(context: Context, { yes }: { yes?: boolean }, name: string): Promise<void> {
  const api = await context.api();
  await api.getSchema({ name });
  await confirm(context.terminal, `Delete the schema ${name}?`, yes);
  await api.deleteSchema({ name, mutation: api.mutation() });
  context.show({ deleted: name }, () => `${printable(name)} deleted\n`);
}
