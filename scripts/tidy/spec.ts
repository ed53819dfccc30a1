// T6: the specification and the tests know each other. Every rule of docs/spec has a test whose title begins
// with its id, and every id in a title is that of a rule.
//   docs/spec/queues.md   - [Q12] A stale lease epoch changes nothing.
//   test/queue/...        test('[Q12] an ack with a stale epoch is refused', ...)
import type { Finding, SourceFile } from '../tidy.ts';

const ruleLine = /^ *- \[((?:KV|Q|SC|ST|TX|AD)\d+)\]/gm;
/** A string that begins with ids is a title: '[Q12] [Q13] ...'. */
const title = /['"`]((?:\[(?:KV|Q|SC|ST|TX|AD)\d+\] ?)+)/g;
const id = /\[((?:KV|Q|SC|ST|TX|AD)\d+)\]/g;

interface Place {
  readonly path: string;
  readonly line: number;
}

export function specFindings(specs: readonly SourceFile[], sources: readonly SourceFile[]): Finding[] {
  const findings: Finding[] = [];
  const rules = new Map<string, Place>();
  for (const { path, text } of specs) {
    for (const match of text.matchAll(ruleLine)) {
      const at = { path, line: lineAt(text, match.index) };
      const before = rules.get(match[1] ?? '');
      if (before !== undefined) {
        const message = `[${match[1]}] is a rule of ${before.path}:${before.line} already`;
        findings.push({ ...at, rule: 'T6', message });
      }
      rules.set(match[1] ?? '', at);
    }
  }
  const tested = new Set<string>();
  for (const { path, text } of sources) {
    if (!path.endsWith('.test.ts')) continue;
    for (const match of text.matchAll(title)) {
      for (const [, name = ''] of (match[1] ?? '').matchAll(id)) {
        tested.add(name);
        if (rules.has(name)) continue;
        const message = `[${name}] is no rule of docs/spec`;
        findings.push({ path, line: lineAt(text, match.index), rule: 'T6', message });
      }
    }
  }
  for (const [name, at] of rules) {
    if (!tested.has(name)) findings.push({ ...at, rule: 'T6', message: `[${name}] has no test` });
  }
  return findings;
}

const lineAt = (text: string, index: number) => text.slice(0, index).split('\n').length;
