// What a JSON Schema is made of: every subschema by its place, what refers to what, and what a check may
// cost. Finds what must be known before anybody compiles it. Pure.
//   A1. A subschema that is applied to the same value again through its own references would never end:
//       it is refused. One that comes back at a smaller part of the value ends with it.
//   A2. `weight` bounds the work: a payload of n bytes takes at most n * weight steps. It is infinite
//       where a subschema contains itself, as then the work may double with each level.
import { escaped, type JsonValue } from './language.ts';
import { compilePattern } from './patterns.ts';
import { SchemaProblem } from './problem.ts';

export interface Anatomy {
  readonly weight: number;
  /** Names that JavaScript objects inherit are among those that the schema speaks of. */
  readonly namesInherited: boolean;
  /** Keywords for people and tools (x-...), which say nothing about values. */
  readonly extensions: readonly string[];
}

const SUBSCHEMAS_MAX = 2000;
const DRAFT = 'https://json-schema.org/draft/2020-12/schema';

/** How a keyword holds schemas, and whether they are applied to the same value or to a part of it. */
type Holds = 'one' | 'list' | 'named';
const SAME: Record<string, Holds> = {
  allOf: 'list',
  anyOf: 'list',
  oneOf: 'list',
  not: 'one',
  if: 'one',
  // biome-ignore lint/suspicious/noThenProperty: it is a keyword of JSON Schema.
  then: 'one',
  else: 'one',
  dependentSchemas: 'named',
};
const PARTS: Record<string, Holds> = {
  properties: 'named',
  patternProperties: 'named',
  additionalProperties: 'one',
  unevaluatedProperties: 'one',
  propertyNames: 'one',
  items: 'one',
  prefixItems: 'list',
  contains: 'one',
  unevaluatedItems: 'one',
};
const DEFINITIONS: Record<string, Holds> = { $defs: 'named', definitions: 'named' };

/** They would change what a reference means, fetch something, or answer later. */
const REFUSED = ['$anchor', '$dynamicRef', '$dynamicAnchor', '$recursiveRef', '$vocabulary', '$async'];

interface Node {
  readonly place: string;
  readonly local: number;
  readonly ref: string | undefined;
  readonly same: Node[];
  readonly parts: Node[];
}

type Mapping = { [name: string]: JsonValue };

/** Throws SchemaProblem. */
export function anatomyOf(schema: JsonValue): Anatomy {
  const reader = new Reader();
  const root = reader.read(schema, '');
  reader.link();
  refuseEndless(root, reader.nodes.values());
  return {
    weight: weightOf(root),
    namesInherited: reader.namesInherited,
    extensions: [...reader.extensions],
  };
}

class Reader {
  readonly nodes = new Map<string, Node>();
  readonly extensions = new Set<string>();
  namesInherited = false;

  read(schema: JsonValue, place: string): Node {
    const isObject = typeof schema === 'object' && schema !== null && !Array.isArray(schema);
    if (!isObject && typeof schema !== 'boolean') throw new SchemaProblem(place, 'is not a schema');
    const own: Mapping = isObject ? schema : {};
    const node: Node = { place, local: costOf(own, place), ref: refOf(own, place), same: [], parts: [] };
    this.nodes.set(place, node);
    if (this.nodes.size > SUBSCHEMAS_MAX)
      throw new SchemaProblem('', `has more than ${SUBSCHEMAS_MAX} subschemas`);
    for (const [keyword, value] of Object.entries(own)) {
      const at = `${place}/${escaped(keyword)}`;
      this.#note(keyword, value, place);
      if (Object.hasOwn(SAME, keyword)) node.same.push(...this.#all(SAME[keyword] as Holds, value, at));
      else if (Object.hasOwn(PARTS, keyword))
        node.parts.push(...this.#all(PARTS[keyword] as Holds, value, at));
      else if (Object.hasOwn(DEFINITIONS, keyword)) this.#all('named', value, at);
    }
    return node;
  }

  /** References become edges. */
  link(): void {
    for (const node of this.nodes.values()) {
      if (node.ref === undefined) continue;
      const target = this.nodes.get(node.ref);
      if (target === undefined)
        throw new SchemaProblem(`${node.place}/$ref`, `refers to #${node.ref}, where there is no schema`);
      node.same.push(target);
    }
  }

  #all(holds: Holds, value: JsonValue, at: string): Node[] {
    if (holds === 'one') return [this.read(value, at)];
    if (holds === 'list') {
      if (!Array.isArray(value)) throw new SchemaProblem(at, 'is not a list of schemas');
      return value.map((each, i) => this.read(each, `${at}/${i}`));
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new SchemaProblem(at, 'does not name schemas');
    return Object.entries(value).map(([name, each]) => this.read(each, `${at}/${escaped(name)}`));
  }

  #note(keyword: string, value: JsonValue, place: string): void {
    const at = `${place}/${escaped(keyword)}`;
    // To ajv they are keywords, as its tables are objects.
    if (keyword in Object.prototype) throw new SchemaProblem(at, 'is not a keyword');
    if (REFUSED.includes(keyword)) throw new SchemaProblem(at, 'is not accepted here');
    // ajv leaves it out of what it checks.
    if (keyword === 'properties' && namesIn(value).includes('__proto__'))
      throw new SchemaProblem(at, 'names a field __proto__, which is not accepted here');
    if (keyword === '$id' && place !== '') throw new SchemaProblem(at, 'is accepted at the top only');
    if (keyword === '$schema' && (place !== '' || (value !== DRAFT && value !== `${DRAFT}#`)))
      throw new SchemaProblem(at, `is ${DRAFT} or left out, at the top`);
    if (keyword.startsWith('x-')) this.extensions.add(keyword);
    if (keyword === 'required' || keyword === 'properties' || keyword.startsWith('dependent'))
      for (const name of namesIn(value)) if (name in Object.prototype) this.namesInherited = true;
  }
}

const namesIn = (value: JsonValue): string[] => {
  if (Array.isArray(value)) return value.filter((each) => typeof each === 'string');
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) => [
    name,
    ...(Array.isArray(each) ? namesIn(each) : []),
  ]);
};

/** Only what is in this document: nothing is ever fetched. */
function refOf(schema: Mapping, place: string): string | undefined {
  if (!Object.hasOwn(schema, '$ref')) return undefined;
  const ref = schema['$ref'];
  const at = `${place}/$ref`;
  if (typeof ref !== 'string' || !(ref === '#' || ref.startsWith('#/')))
    throw new SchemaProblem(
      at,
      `is ${JSON.stringify(ref)?.slice(0, 100)}: only #/... is accepted, in this schema`,
    );
  try {
    return decodeURIComponent(ref.slice(1));
  } catch {
    throw new SchemaProblem(at, 'is not a reference');
  }
}

/** A format is a pattern that we have not written. */
const FORMAT_STEPS = 500;

/** Steps at one value, or one character of it. */
function costOf(schema: Mapping, place: string): number {
  let steps = 1;
  const { pattern, patternProperties, enum: values, const: value } = schema;
  if (typeof pattern === 'string') steps += compilePattern(pattern, `${place}/pattern`).steps;
  if (typeof patternProperties === 'object' && patternProperties !== null)
    for (const each of Object.keys(patternProperties))
      steps += compilePattern(each, `${place}/patternProperties/${escaped(each)}`).steps;
  for (const each of [values, value]) if (each !== undefined) steps += JSON.stringify(each).length / 4;
  if (schema['format'] !== undefined) steps += FORMAT_STEPS;
  return steps;
}

/** A1: no way along `same` comes back. */
function refuseEndless(root: Node, all: Iterable<Node>): void {
  const done = new Set<Node>();
  const onWay = new Set<Node>();
  const visit = (node: Node): void => {
    if (done.has(node)) return;
    if (onWay.has(node))
      throw new SchemaProblem(node.place, 'refers to itself without an end, for one and the same value');
    onWay.add(node);
    for (const next of node.same) visit(next);
    onWay.delete(node);
    done.add(node);
  };
  visit(root);
  for (const node of all) visit(node);
}

/** A2 */
function weightOf(root: Node): number {
  const known = new Map<Node, number>();
  const visit = (node: Node): number => {
    const weight = known.get(node);
    if (weight !== undefined) return weight;
    // What is found again on the way to its own weight contains itself.
    known.set(node, Number.POSITIVE_INFINITY);
    let sum = node.local;
    for (const next of [...node.same, ...node.parts]) sum += visit(next);
    known.set(node, sum);
    return sum;
  };
  return visit(root);
}
