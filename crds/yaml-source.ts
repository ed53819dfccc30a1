// Reads YAML that nobody vouches for into plain values, and remembers where each came from.
//   Y1. What a hostile file could make expensive is refused while its tokens are read, before any value
//        exists: size, number of tokens, depth, anchors, aliases, tags.
//   Y2. A key occurs once in its mapping. The library's own check compares each key with each, so a set does
//        it here.
//   Y3. Values are JSON: null-prototype objects, arrays, text, finite numbers, booleans, null.
import {
  Composer,
  CST,
  type Document,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type ParsedNode,
  Parser,
  type Scalar,
} from 'yaml';

export const YAML_LIMITS = {
  bytes: 1024 * 1024,
  depth: 64,
  documents: 1000,
  /** Five times what a full megabyte of real manifests has; keeps a file of commas below a second. */
  tokens: 400_000,
} as const;

export interface Place {
  line: number;
  column: number;
}

export interface YamlProblem extends Place {
  /** 1 for the first; 0: the file as a whole. */
  document: number;
  field: string;
  message: string;
  cure: string;
}

export type Path = readonly (string | number)[];

export interface YamlDocument {
  index: number;
  line: number;
  value: unknown;
  /** Where the value at `path` is, or its key; the nearest ancestor if there is no such value. */
  place(path: Path, of?: 'key' | 'value'): Place;
}

export function parseYaml(text: string): { documents: YamlDocument[]; problems: YamlProblem[] } {
  const lines = new LineCounter();
  const scan = scanTokens(text, lines);
  if ('problem' in scan) return { documents: [], problems: [scan.problem] };
  const documents: YamlDocument[] = [];
  const problems: YamlProblem[] = [];
  // uniqueKeys: see Y2. The composer works on tokens that are known to be shallow and free of aliases.
  const composer = new Composer({ uniqueKeys: false, schema: 'core', version: '1.2' });
  let index = 0;
  for (const parsed of composer.compose(scan.tokens, false, text.length)) {
    index++;
    if (index > YAML_LIMITS.documents) {
      const cure = 'split it into several files';
      return {
        documents,
        problems: [...problems, whole(`more than ${YAML_LIMITS.documents} documents`, cure)],
      };
    }
    const result = readDocument(parsed, index, lines);
    if (result === undefined) continue;
    if ('problems' in result) problems.push(...result.problems);
    else documents.push(result);
  }
  return { documents, problems };
}

const whole = (message: string, cure: string): YamlProblem => ({
  document: 0,
  line: 1,
  column: 1,
  field: '',
  message,
  cure,
});

type Token = CST.Token;
type Scan = { tokens: Token[] } | { problem: YamlProblem };

function scanTokens(text: string, lines: LineCounter): Scan {
  const bytes = Buffer.byteLength(text);
  if (bytes > YAML_LIMITS.bytes) {
    return {
      problem: whole(`the file has ${bytes} bytes, at most 1 MiB is read`, 'split it into several files'),
    };
  }
  const tokens: Token[] = [];
  const parser = new Parser(lines.addNewLine);
  lines.addNewLine(0);
  let documents = 1;
  let lexemes = 0;
  let scalarNext = false;
  const refuse = (message: string, cure: string): Scan => {
    const { line, col } = lines.linePos(parser.offset);
    return { problem: { document: documents, line, column: col, field: '', message, cure } };
  };
  for (const lexeme of new Lexer().lex(text)) {
    if (++lexemes > YAML_LIMITS.tokens) {
      return { problem: whole(`more than ${YAML_LIMITS.tokens} YAML tokens`, 'split it into several files') };
    }
    // A scalar is announced by a marker; its text may look like anything.
    const refusal = scalarNext ? undefined : refusedLexeme(lexeme);
    if (refusal !== undefined) return refuse(...refusal);
    scalarNext = lexeme === CST.SCALAR;
    for (const token of parser.next(lexeme)) tokens.push(token);
    if (lexeme === '---' && tokens.length > 0) documents++;
    // The document itself and an open scalar are on the stack too.
    if (parser.stack.length > YAML_LIMITS.depth + 1 && depth(parser.stack) > YAML_LIMITS.depth) {
      return refuse(`nested more than ${YAML_LIMITS.depth} levels deep`, 'flatten it');
    }
  }
  for (const token of parser.end()) tokens.push(token);
  return { tokens };
}

const coreTag = /^!!(?:str|int|float|bool|null|map|seq)$/;

function refusedLexeme(lexeme: string): [message: string, cure: string] | undefined {
  switch (CST.tokenType(lexeme)) {
    case 'anchor':
      return [`anchor ${shown(lexeme)} is not accepted`, 'repeat the value where it is needed'];
    case 'alias':
      return [`alias ${shown(lexeme)} is not accepted`, 'repeat the value instead of referring to it'];
    case 'tag':
      return coreTag.test(lexeme) ? undefined : [`tag ${shown(lexeme)} is not accepted`, 'remove the tag'];
    case 'directive-line':
      return lexeme.startsWith('%YAML')
        ? undefined
        : ['YAML directives are not accepted', 'remove this line'];
    default:
      return undefined;
  }
}

const shown = (text: string) => (text.length > 40 ? `${text.slice(0, 40)}…` : text);
const depth = (stack: readonly Token[]) => stack.filter((token) => CST.isCollection(token)).length;

function readDocument(
  parsed: Document.Parsed<ParsedNode, true>,
  index: number,
  lines: LineCounter,
): YamlDocument | { problems: YamlProblem[] } | undefined {
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const [broken] = parsed.errors;
  // Only the first: what follows a syntax error is mostly its echo.
  if (broken !== undefined) {
    const { message, cure } = inWords(broken.code, broken.message);
    return { problems: [{ document: index, ...at(broken.pos[0]), field: '', message, cure }] };
  }
  const root = parsed.contents;
  if (root === null || (isScalar(root) && root.value === null)) return undefined;
  const problems: YamlProblem[] = [];
  const value = toPlain(root, [], (node, path, message, cure) => {
    problems.push({ document: index, ...at(node.range?.[0] ?? 0), field: path.join('.'), message, cure });
  });
  if (problems.length > 0) return { problems };
  return {
    index,
    line: at(root.range[0]).line,
    value,
    place: (path, of = 'value') => at(offsetOf(root, path, of)),
  };
}

/** The library's codes for the mistakes that people make, in words, with what to do about them. */
const mistakes: Readonly<Record<string, [message: string | undefined, cure: string]>> = {
  TAB_AS_INDENT: ['a tab in the indentation', 'indent with spaces'],
  BAD_INDENT: [undefined, 'align it with its neighbours'],
  BLOCK_AS_IMPLICIT_KEY: [
    'two "key: value" on one line',
    'give the second its own line, or put the text in quotes',
  ],
  MISSING_CHAR: [undefined, 'add what is missing'],
  UNEXPECTED_TOKEN: [undefined, 'remove it, or put the text in quotes'],
};

function inWords(code: string, message: string): { message: string; cure: string } {
  const open = message.includes('end with a ');
  const [words, cure = 'correct this line'] = mistakes[open ? 'MISSING_CHAR' : code] ?? [];
  const first = message.split('\n', 1)[0] ?? '';
  return { message: `not valid YAML: ${words ?? first.charAt(0).toLowerCase() + first.slice(1)}`, cure };
}

type Report = (node: Node, path: Path, message: string, cure: string) => void;

function toPlain(node: unknown, path: Path, report: Report): unknown {
  if (isMap(node)) {
    const object: Record<string, unknown> = Object.create(null);
    for (const { key, value } of node.items) {
      if (!isScalar(key) || typeof key.value !== 'string') {
        report((key as Node) ?? node, path, 'a key must be text', 'put the key in quotes');
      } else if (Object.hasOwn(object, key.value)) {
        report(key, [...path, key.value], 'this key occurs twice', 'keep one of them');
      } else {
        object[key.value] = toPlain(value, [...path, key.value], report);
      }
    }
    return object;
  }
  if (isSeq(node)) return node.items.map((item, index) => toPlain(item, [...path, index], report));
  if (!isScalar(node)) return null;
  const oddity = scalarOddity(node);
  if (oddity !== undefined) report(node, path, ...oddity);
  return node.value;
}

const yaml11Boolean = /^(?:[yn]|[YN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$/;

/** Values that are no JSON, or that kubectl (YAML 1.1) reads as something else. */
function scalarOddity({ value, source, type }: Scalar): [message: string, cure: string] | undefined {
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return ['not a finite number', 'write a number'];
    if (/^[-+]?0[0-9]/.test(source ?? ''))
      return ['kubectl reads a leading 0 as octal', 'write it without the 0'];
  }
  if (type === 'PLAIN' && typeof value === 'string' && yaml11Boolean.test(value)) {
    return [`kubectl reads ${value} as true or false`, `put it in quotes: "${value}"`];
  }
  return undefined;
}

function offsetOf(root: Node, path: Path, of: 'key' | 'value'): number {
  let node: Node = root;
  let offset = root.range?.[0] ?? 0;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === step);
      if (pair === undefined) break;
      const key = pair.key as Node;
      const value = pair.value as Node | null;
      offset = (of === 'key' ? key : (value ?? key)).range?.[0] ?? offset;
      // A mapping begins on the line below its key, where nobody would look for it.
      if (of === 'value' && value !== null && !isScalar(value)) offset = key.range?.[0] ?? offset;
      if (value === null) break;
      node = value;
    } else if (isSeq(node) && typeof step === 'number') {
      const item = node.items[step] as Node | undefined;
      if (item === undefined) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else break;
  }
  return offset;
}
