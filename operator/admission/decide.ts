// Whether the API server may take an object. Pure: a request in, a decision out; nothing is looked up, so
// that it says the same whoever asks, and as often as it is asked.
//   D1. The rules are those of crds/judge.ts and no others: `flowmesh validate` said it before, and the
//       condition Accepted would say it after.
//   D2. What leaves the spec alone passes, and so does everything about an object that is being deleted:
//       finalizers, labels and owners can always be changed.
//   D3. An update is refused for what it makes wrong, not for what was wrong before; that is a warning.
//   D4. What is not ours passes without a word: a rule too many in a configuration must not stop others.
import { isDeepStrictEqual } from 'node:util';
import { API_VERSION, isKind, type Kind } from '../../crds/definitions.ts';
import { inOneLine, judge, problemsIn, type Verdict } from '../../crds/judge.ts';
import { unserved } from '../../crds/notices.ts';
import { type FieldProblem, formatPath, isMapping } from '../../crds/problems.ts';
import { changeProblems } from '../../crds/rules.ts';
import type { Resource } from '../../crds/types.ts';
import type { Path } from '../../crds/yaml-source.ts';
import type { Cause, Decision, Mapping, Request } from './review.ts';

/** The API server cuts longer ones, and drops all beyond 4096 characters. */
const WARNING_CHARACTERS_MAX = 256;
const WARNINGS_MAX = 12;

const PASSES: Decision = { allowed: true, causes: [], warnings: [], message: '' };

export function decide(request: Request): Decision {
  const { kind, object, oldObject, operation, subResource } = request;
  const isOurs = `${kind.group}/${kind.version}` === API_VERSION && isKind(kind.kind) && subResource === '';
  if (!isOurs || object === undefined || !['CREATE', 'UPDATE'].includes(operation)) return PASSES;
  const after = authored(kind.kind as Kind, request, object);
  if (operation === 'CREATE' || oldObject === undefined) return tell(request, after, verdictOn(after), []);
  const before = authored(kind.kind as Kind, request, oldObject);
  if (isTerminating(object) || isDeepStrictEqual(after.spec, before.spec)) return PASSES; // D2
  return decideChange(request, before, after);
}

/** What its author wrote: names, annotations for notices, and spec. */
type Authored = Resource & Record<string, unknown>;

function authored(kind: Kind, { name, namespace }: Request, object: Mapping): Authored {
  const metadata = isMapping(object['metadata']) ? object['metadata'] : {};
  // With generateName there may be none yet.
  const known = typeof metadata['name'] === 'string' ? metadata['name'] : name || 'generated';
  const spec = object['spec'] ?? {};
  return {
    ...{ apiVersion: API_VERSION, kind },
    metadata: { name: known, ...(namespace !== '' && { namespace }) },
    spec,
  } as unknown as Authored;
}

const verdictOn = (object: Authored): Verdict => judge(object.kind, object);

function isTerminating({ metadata }: Mapping): boolean {
  return isMapping(metadata) && typeof metadata['deletionTimestamp'] === 'string';
}

function decideChange(request: Request, before: Authored, after: Authored): Decision {
  const [was, is] = [verdictOn(before), verdictOn(after)];
  const known = knownBefore(was, is);
  // Rules that compare can only be evaluated on what has the right shape.
  const canCompare = was.fields.length === 0 && is.fields.length === 0;
  const changes = canCompare ? changeProblems(before, after) : [];
  const fresh = { fields: [...is.fields.filter((each) => !known.has(each)), ...changes], meaning: [] };
  const meaning = is.meaning.filter((each) => !known.has(each));
  return tell(request, after, { ...fresh, meaning }, [...known]);
}

/** D3: the problems of `is` that `was` had as well. */
function knownBefore(was: Verdict, is: Verdict): Set<FieldProblem> {
  // Meaning could not be judged before (J1): what is found now may well have been there.
  if (was.fields.length > 0 && is.fields.length === 0) return new Set(is.meaning);
  const counts = new Map<string, number>();
  for (const each of problemsIn(was)) counts.set(likeness(each), (counts.get(likeness(each)) ?? 0) + 1);
  return new Set(
    problemsIn(is).filter((each) => {
      const left = counts.get(likeness(each)) ?? 0;
      counts.set(likeness(each), left - 1);
      return left > 0;
    }),
  );
}

/** The same mistake, wherever in its list it stands now. */
function likeness({ path, message }: FieldProblem): string {
  return JSON.stringify([path.map((step) => (typeof step === 'number' ? 0 : step)), message]);
}

function tell(
  { kind, name }: Request,
  object: Authored,
  verdict: Verdict,
  known: readonly FieldProblem[],
): Decision {
  const problems = problemsIn(verdict);
  const stands = known.map((each) => `${inOneLine(each)} (it was so before)`);
  if (problems.length === 0) {
    // A notice looks into fields that it takes to be right.
    const notices = known.length === 0 ? unserved(object).map(noticeOf) : [];
    return { ...PASSES, warnings: [...stands, ...notices].slice(0, WARNINGS_MAX).map(short) };
  }
  const subject = `${kind.kind} ${name || object.metadata.name} is not valid`;
  return {
    allowed: false,
    message: `${subject}: ${problems.map(inOneLine).join('; ')}`,
    causes: problems.map(causeOf),
    warnings: stands.slice(0, WARNINGS_MAX).map(short),
  };
}

function causeOf({ path, message, cure }: FieldProblem): Cause {
  const said = cure === '' ? message : `${message}; ${cure}`;
  return { reason: 'FieldValueInvalid', field: formatPath(path), message: said };
}

function noticeOf({ path, message }: { path: Path; message: string }): string {
  return [formatPath(path), message].filter((part) => part !== '').join(' ');
}

function short(text: string): string {
  return text.length > WARNING_CHARACTERS_MAX ? `${text.slice(0, WARNING_CHARACTERS_MAX - 1)}…` : text;
}
