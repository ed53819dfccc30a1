// What a benchmark writes into a page, between two marks, and what it takes to write markup.

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** For text inside of XML. */
export const escaped = (text: string) => text.replace(/[&<>"]/g, (c) => ESCAPES[c] ?? c);

/** Replaces what stands between the marks of this name; appends it where there are none. */
export function withSection(document: string, name: string, lines: readonly string[]): string {
  const [begin, end] = [`<!-- ${name} begin -->`, `<!-- ${name} end -->`];
  const section = [begin, ...lines, end].join('\n');
  const from = document.indexOf(begin);
  if (from === -1) return `${document.trimEnd()}\n\n${section}\n`;
  return document.slice(0, from) + section + document.slice(document.indexOf(end) + end.length);
}
