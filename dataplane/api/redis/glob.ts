// Redis' own patterns over bytes: `*`, `?`, `[a-c]`, `[^x]`, `\`. Matching takes at most pattern x text
// steps, whatever the pattern (a regular expression made of it could take for ever).

type Token = { readonly kind: 'star' } | { readonly kind: 'one'; readonly fits: (byte: number) => boolean };

const STAR: Token = { kind: 'star' };
const ANY: Token = { kind: 'one', fits: () => true };
const [BACKSLASH, OPEN, CLOSE, CARET, DASH, ASTERISK, QUESTION] = [92, 91, 93, 94, 45, 42, 63];

/** The matcher of a pattern. */
export function glob(pattern: Buffer): (text: Uint8Array) => boolean {
  const tokens = parse(pattern);
  return (text) => matches(tokens, text);
}

function parse(pattern: Buffer): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const byte = pattern[i] as number;
    if (byte === ASTERISK) {
      if (tokens.at(-1) !== STAR) tokens.push(STAR);
    } else if (byte === QUESTION) tokens.push(ANY);
    else if (byte === OPEN) {
      const { token, end } = parseClass(pattern, i + 1);
      tokens.push(token);
      i = end;
    } else {
      const literal = byte === BACKSLASH && i + 1 < pattern.length ? (pattern[++i] as number) : byte;
      tokens.push({ kind: 'one', fits: (other) => other === literal });
    }
  }
  return tokens;
}

function parseClass(pattern: Buffer, from: number): { token: Token; end: number } {
  const isNot = pattern[from] === CARET;
  const set = new Set<number>();
  let i = isNot ? from + 1 : from;
  for (; i < pattern.length && pattern[i] !== CLOSE; i++) {
    if (pattern[i] === BACKSLASH && i + 1 < pattern.length) i++;
    const first = pattern[i] as number;
    if (pattern[i + 1] === DASH && i + 2 < pattern.length) {
      const last = pattern[i + 2] as number;
      for (let byte = Math.min(first, last); byte <= Math.max(first, last); byte++) set.add(byte);
      i += 2;
    } else set.add(first);
  }
  return { token: { kind: 'one', fits: (byte) => set.has(byte) !== isNot }, end: i };
}

/** Only the last star needs to be gone back to: what an earlier one could take, the later one can as well. */
function matches(tokens: readonly Token[], text: Uint8Array): boolean {
  let at = 0;
  let token = 0;
  let star = -1;
  let starAt = 0;
  while (at < text.length) {
    const now = tokens[token];
    if (now?.kind === 'star') {
      star = token++;
      starAt = at;
    } else if (now?.kind === 'one' && now.fits(text[at] as number)) {
      token++;
      at++;
    } else if (star === -1) return false;
    else {
      token = star + 1;
      at = ++starAt;
    }
  }
  while (tokens[token]?.kind === 'star') token++;
  return token === tokens.length;
}
