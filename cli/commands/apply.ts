// flowmesh apply and validate: manifests against a running server, or against their definitions alone.
import { type Command, InvalidArgumentError } from 'commander';
import type { Problem } from '../../crds/problems.ts';
import type { Action, Context } from '../context.ts';
import { declarationsOf } from '../declarations.ts';
import { outcomeLines } from '../dev/banner.ts';
import { CliError } from '../failure.ts';
import { type ManifestSet, noticeText, problemText, readManifests } from '../manifest-files.ts';
import { createTeller } from '../notices.ts';
import { reconcile } from '../reconcile.ts';
import { count, counted } from '../text.ts';

export function addApplyCommands(program: Command, action: Action): void {
  program
    .command('apply')
    .description('make a running FlowMesh have what manifests declare')
    .requiredOption('-f, --filename <path...>', 'files or folders; - is standard input', somewhere)
    .action(action(apply));
  program
    .command('validate')
    .description('check manifests without a server')
    .requiredOption('-f, --filename <path...>', 'files or folders; - is standard input', somewhere)
    .action(action(validate));
}

function somewhere(path: string, before: string[] | undefined): string[] {
  if (path === '') throw new InvalidArgumentError('Write a path.');
  return [...(before ?? []), path];
}

interface FileOptions {
  filename: string[];
}

async function checked(
  context: Context,
  { filename }: FileOptions,
  noticesOf: (set: ManifestSet) => Problem[],
  hint = '',
): Promise<ManifestSet> {
  const { terminal } = context;
  const set = await readManifests(filename, terminal.stdin);
  const { problems } = set;
  const notices = noticesOf(set);
  if (!context.isJson) {
    for (const problem of problems) terminal.err(`${problemText(problem, terminal.errColors)}\n`);
    for (const notice of notices) terminal.err(noticeText(notice, terminal.errColors));
  }
  if (problems.length > 0) {
    if (context.isJson) context.show({ problems, notices }, () => '');
    const mistakes = counted(problems.length, 'mistake');
    throw new CliError(`${mistakes} in the manifests`, hint);
  }
  return set;
}

async function validate(context: Context, options: FileOptions): Promise<void> {
  const { files, resources, notices } = await checked(context, options, (set) => set.notices);
  const found = resources.map(({ kind, metadata, source }) => ({ kind, name: metadata.name, source }));
  const what = `${counted(resources.length, 'resource')} in ${counted(files.length, 'file')}`;
  context.show({ resources: found, problems: [], notices }, () => {
    return `${context.terminal.colors.green('valid')}: ${what}\n`;
  });
  if (resources.length === 0) context.hint('no resources of FlowMesh were found');
}

async function apply(context: Context, options: FileOptions): Promise<void> {
  const untold = createTeller();
  const said = (set: ManifestSet) => untold([...set.notices, ...set.clusterOnly]);
  const { resources } = await checked(context, options, said, 'nothing was applied');
  const outcomes = await reconcile(resources, declarationsOf(await context.api()));
  const refused = outcomes.filter(({ result }) => result === 'refused');
  for (const { kind, name, owner } of outcomes)
    if (owner !== undefined) context.hint(`${owner} declares ${kind} ${name}, and will change it back`);
  const results = outcomes.map(({ kind, name, result, changes, error }) => {
    return { kind, name, result, changes, ...(error instanceof Error ? { error: error.message } : {}) };
  });
  context.show(results, () =>
    outcomes.length === 0 ? '' : `${outcomeLines(outcomes, context.terminal.colors, '')}\n`,
  );
  if (outcomes.length === 0) context.hint('nothing to apply: no Queue, Schema or Stream was found');
  if (refused.length === 0) return;
  const were = refused.length === 1 ? 'was' : 'were';
  throw new CliError(`${count(refused.length)} of ${count(outcomes.length)} ${were} refused`);
}
