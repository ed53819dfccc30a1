// One flipped bit anywhere, or a file that ends too early: what is served is right, or it is refused with
// the name of the file. FLOWMESH_DAMAGE_EVERY=1 tries every 997th byte (npm run test:damage); by default a
// sample.
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { FlowError } from '@flowmesh/protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Answers, ask, open, prepare, withCopy } from './damage-data.ts';

const STEP = 997;
const EVERY = Number(process.env.FLOWMESH_DAMAGE_EVERY ?? 10);
const SEED = Number(process.env.FLOWMESH_DAMAGE_SEED ?? Date.now() % 1_000_000);

let pristine: string;
let right: Answers;

beforeAll(async () => {
  pristine = mkdtempSync(join(tmpdir(), 'flowmesh-pristine-'));
  await prepare(pristine);
  right = await withCopy(pristine, async (dir) => {
    const opened = await open(dir);
    const answers = await ask(opened);
    await opened.fabric.close();
    return answers;
  });
  for (const [question, answer] of right) expect(answer, question).toBeTypeOf('string');
}, 60_000);
afterAll(() => rmSync(pristine, { recursive: true, force: true }));

function files(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .sort();
}

type Verdict = 'harmless' | 'detected';

/** Throws what was served wrong, or refused without a name. */
async function judge(dir: string, file: string, what: string): Promise<Verdict> {
  const named = (error: unknown): boolean => {
    if (!(error instanceof FlowError)) throw new Error(`${what}: ${String(error)}`, { cause: error });
    const isClear = /^DATA_/.test(error.code) && error.message.includes(file);
    if (!isClear) throw new Error(`${what}: unclear: ${error.code} ${error.message}`, { cause: error });
    return true;
  };
  const opened = await open(dir).catch((error: unknown) => {
    named(error);
  });
  if (opened === undefined) return 'detected';
  let verdict: Verdict = 'harmless';
  try {
    const answers = await ask(opened);
    for (const [question, answer] of answers) {
      if (answer === right.get(question)) continue;
      if (typeof answer === 'string')
        throw new Error(`${what}: ${question} is\n${answer}, should be\n${right.get(question)}`);
      named(answer);
      verdict = 'detected';
    }
  } finally {
    await opened.fabric.close().catch(() => {});
    opened.time.clear();
  }
  if (opened.fatal[0] !== undefined && named(opened.fatal[0])) return 'detected';
  return verdict;
}

/** Keeps on, so that one run shows everything. */
async function collect(tries: { what: string; file: string; damage: (path: string) => void }[]) {
  const wrong: string[] = [];
  const counts = { harmless: 0, detected: 0 };
  for (const { what, file, damage } of tries) {
    await withCopy(pristine, async (dir) => {
      damage(join(dir, file));
      const verdict = await judge(dir, file, what).catch((error: Error) => {
        wrong.push(error.message.slice(0, 600));
      });
      if (verdict) counts[verdict]++;
    });
  }
  expect(wrong.length, wrong.join('\n')).toBe(0);
  return counts;
}

test(`a bit flipped at any ${STEP}th byte is seen or harmless (1 of ${EVERY}, seed ${SEED})`, async () => {
  const tries = files(pristine).flatMap((file) => {
    const size = statSync(join(pristine, file)).size;
    // There is little of LevelDB and of identities here, and each byte of it counts.
    const step = size < 60_000 ? Math.ceil(STEP / 20) : STEP;
    const places = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step + ((SEED + i) % 31));
    return places.filter((at) => at < size).map((at) => ({ file, at }));
  });
  const sample = tries
    .filter((_, i) => i % EVERY === SEED % EVERY)
    .map(({ file, at }) => ({
      what: `${file} at byte ${at}`,
      file,
      damage(path: string) {
        const bytes = readFileSync(path);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << ((at + SEED) % 8));
        writeFileSync(path, bytes);
      },
    }));
  const { harmless, detected } = await collect(sample);
  process.stdout.write(`${sample.length} flips: ${detected} detected, ${harmless} harmless\n`);
  expect(detected).toBeGreaterThan(0);
}, 1_200_000);

test('a file that ends too early is detected or harmless', async () => {
  const tries = files(pristine).flatMap((file) => {
    const size = statSync(join(pristine, file)).size;
    return [0, Math.floor(size / 2), size - 1]
      .filter((bytes, i, all) => bytes >= 0 && bytes < size && all.indexOf(bytes) === i)
      .map((bytes) => ({
        what: `${file} cut to ${bytes} of ${size} bytes`,
        file,
        damage: (path: string) => truncateSync(path, bytes),
      }));
  });
  const { harmless, detected } = await collect(tries);
  process.stdout.write(`${tries.length} cuts: ${detected} detected, ${harmless} harmless\n`);
}, 300_000);
