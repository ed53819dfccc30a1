// Manifests as `kubectl apply` takes them, checked without a cluster and with better words: each problem
// names file, document, line, field and cure. A field that the API server would prune in silence is a problem
// here.
//   C1. A document is either a resource without problems or no resource: nothing half valid leaves this file.
//   C2. Documents of other groups (a Deployment beside its queues) are skipped with a notice.
//   C3. Never throws, whatever the text.
import { API_GROUP, API_VERSION, isKind, KINDS } from './definitions.ts';
import { judge, problemsIn } from './judge.ts';
import { clusterOnly, unserved } from './notices.ts';
import { type FieldProblem, formatPath, isMapping, type Problem, quoted } from './problems.ts';
import { changeProblems } from './rules.ts';
import { nearest } from './suggest.ts';
import type { Resource } from './types.ts';
import { type Path, parseYaml, type YamlDocument } from './yaml-source.ts';

export interface Source {
  file: string;
  document: number;
  line: number;
}

export type SourcedResource = Resource & { source: Source };

export interface Manifests {
  resources: SourcedResource[];
  problems: Problem[];
  /** Accepted, but not as one might think. */
  notices: Problem[];
  /** Accepted, and of no effect where there is no operator. */
  clusterOnly: Problem[];
}

export function parseManifests(text: string, sourceName: string): Manifests {
  const result: Manifests = { resources: [], problems: [], notices: [], clusterOnly: [] };
  const { documents, problems } = parseYaml(text);
  // Split once, and only if there is something to show.
  let lines: string[] | undefined;
  const excerpt = (line: number) => {
    lines ??= text.split('\n');
    return (lines[line - 1] ?? '').trimEnd().slice(0, 200);
  };
  for (const problem of problems) {
    result.problems.push({ file: sourceName, subject: '', excerpt: excerpt(problem.line), ...problem });
  }
  for (const document of documents) {
    const subject = subjectOf(document.value);
    const placed = ({ path, message, cure, of }: FieldProblem): Problem => {
      const at = document.place(path, of);
      const field = formatPath(path);
      const where = { file: sourceName, document: document.index, ...at, subject, field };
      return { ...where, message, cure, excerpt: excerpt(at.line) };
    };
    const checked = checkDocument(document);
    if ('skipped' in checked) result.notices.push(placed(checked.skipped));
    else if ('problems' in checked) result.problems.push(...checked.problems.map(placed));
    else {
      const source = { file: sourceName, document: document.index, line: document.line };
      result.resources.push({ ...checked.resource, source });
      result.notices.push(...unserved(checked.resource).map(placed));
      result.clusterOnly.push(...clusterOnly(checked.resource).map(placed));
    }
  }
  return result;
}

/** What is only wrong between resources, of one file or of many: two that claim one name. */
export function conflicts(resources: readonly SourcedResource[]): Problem[] {
  const seen = new Map<string, SourcedResource>();
  return resources.flatMap((resource): Problem[] => {
    const { kind } = resource;
    const identity = identityOf(resource);
    const served = servedName(resource);
    const clash =
      seen.get(identity) ?? (served === undefined ? undefined : seen.get(`${kind} served ${served}`));
    seen.set(identity, clash ?? resource);
    if (served !== undefined) seen.set(`${kind} served ${served}`, clash ?? resource);
    if (clash === undefined) return [];
    const message = `declared before at ${clash.source.file}:${clash.source.line}`;
    return [{ ...placeOf(resource), field: '', message, cure: 'remove or rename one of them' }];
  });
}

/** What may not become of resources that were declared before, as the API server has it on an update. */
export function forbiddenChanges(
  before: readonly SourcedResource[],
  after: readonly SourcedResource[],
): Problem[] {
  const known = new Map(before.map((resource) => [identityOf(resource), resource]));
  return after.flatMap((resource): Problem[] => {
    const was = known.get(identityOf(resource));
    if (was === undefined) return [];
    return changeProblems(was, resource).map(({ path, message, cure }) => {
      return { ...placeOf(resource), field: formatPath(path), message, cure };
    });
  });
}

const identityOf = ({ kind, metadata }: Resource) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`;

function placeOf(resource: SourcedResource): Omit<Problem, 'field' | 'message' | 'cure'> {
  const { file, document, line } = resource.source;
  return { file, document, line, column: 1, subject: subjectOf(resource), excerpt: '' };
}

/** The name under which the data plane knows it; undefined: it knows no such kind. */
export function servedName(resource: Resource): string | undefined {
  if (resource.kind === 'Queue') return resource.spec.queueName ?? resource.metadata.name;
  if (resource.kind === 'Stream') return resource.spec.streamName ?? resource.metadata.name;
  if (resource.kind === 'Schema') return resource.metadata.name;
  return undefined;
}

type Checked = { resource: Resource } | { problems: readonly FieldProblem[] } | { skipped: FieldProblem };

function checkDocument({ value }: YamlDocument): Checked {
  if (!isMapping(value)) {
    const message = `${Array.isArray(value) ? 'a list' : 'a single value'} where a resource should be`;
    return { problems: [{ path: [], message, cure: `begin with apiVersion: ${API_VERSION}` }] };
  }
  const { apiVersion, kind } = value;
  const head = headProblem(apiVersion, kind);
  if (head !== undefined) return head;
  if (typeof kind !== 'string' || !isKind(kind)) return { problems: [] };
  // `spec:` with nothing below is null; the API server takes it as absent.
  const spec = value['spec'] ?? Object.create(null);
  const problems = problemsIn(judge(kind, { ...value, spec }));
  if (problems.length > 0) return { problems };
  const { status: _, ...declared } = value;
  return { resource: { ...declared, spec } as unknown as Resource };
}

function headProblem(
  apiVersion: unknown,
  kind: unknown,
): Exclude<Checked, { resource: Resource }> | undefined {
  const problem = (path: Path, message: string, cure: string) => ({ problems: [{ path, message, cure }] });
  if (typeof kind !== 'string') {
    return problem(
      ['kind'],
      kind === undefined ? 'kind is missing' : 'kind is not text',
      `add kind: ${KINDS.join(', ')}`,
    );
  }
  if (typeof apiVersion !== 'string')
    return problem(['apiVersion'], 'apiVersion is missing', `add ${API_VERSION}`);
  if (apiVersion === API_VERSION) {
    if (isKind(kind)) return undefined;
    const near = nearest(kind, KINDS);
    const cure = near ? `did you mean ${near}?` : `the kinds are ${KINDS.join(', ')}`;
    return problem(['kind'], `there is no kind ${quoted(kind)}`, cure);
  }
  const group = apiVersion.split('/', 1)[0] ?? '';
  if (group === API_GROUP || isKind(kind) || nearest(apiVersion, [API_VERSION]) !== undefined) {
    return problem(['apiVersion'], `there is no ${quoted(apiVersion)}`, `write apiVersion: ${API_VERSION}`);
  }
  if (kind === 'List') {
    return problem(
      ['kind'],
      'a List is not unpacked',
      'write each item as a document of its own, separated by ---',
    );
  }
  const message = `${apiVersion} ${kind} is not a resource of FlowMesh: skipped`;
  return { skipped: { path: [], message, cure: 'kubectl applies it' } };
}

function subjectOf(value: unknown): string {
  if (!isMapping(value) || typeof value['kind'] !== 'string') return '';
  const metadata = value['metadata'];
  const name = isMapping(metadata) && typeof metadata['name'] === 'string' ? ` ${metadata['name']}` : '';
  return `${value['kind']}${name}`.slice(0, 100);
}
