// Bytes that nobody should send: noise, and sessions of real commands that were damaged on the way.
import fc from 'fast-check';
import { randomFrom } from '../api/nasty.ts';
import { type Args, commands } from './commands.ts';
import { encode } from './resp-client.ts';

export interface FuzzInput {
  /** The bytes as they come, cut anywhere. */
  readonly pieces: readonly Buffer[];
  /** What the client does when it has sent them. */
  readonly end: 'finish' | 'reset';
}

const SESSIONS = 400;
const COMMANDS_MAX = 12;

/** What scripts of data commands lack. */
const OTHERS: Args[] = [
  ['PING'],
  ['ECHO', 'x'],
  ['HELLO', '3'],
  ['HELLO', '2', 'SETNAME', 'c'],
  ['AUTH', 'u', 'p'],
  ['SELECT', '1'],
  ['CLIENT', 'SETNAME', 'x'],
  ['COMMAND', 'INFO', 'GET'],
  ['CONFIG', 'GET', '*'],
  ['INFO'],
  ['RESET'],
  ['WATCH', 'a'],
  ['MULTI'],
  ['EXEC'],
  ['DISCARD'],
  ['SCAN', '0', 'MATCH', '*[a-', 'COUNT', '5'],
  ['KEYS', '**?\\'],
  ['HSCAN', 'a', '0'],
  ['MGET', 'a', 'b', 'nokey'],
  ['SET', 'big', 'x'.repeat(5000)],
  ['EVAL', 'return 1', '0'],
  ['QUIT'],
];

/** In places where a length or a number stands. */
const NUMBERS = [
  '-1',
  '0',
  '1',
  '00',
  '+1',
  '2147483648',
  '4294967296',
  '99999999999999999999',
  '1048577',
  '',
];
const PIECES = [
  '*1\r\n',
  '*-1\r\n',
  '*0\r\n',
  '*20001\r\n',
  '*1048576\r\n',
  '$-1\r\n',
  '$0\r\n\r\n',
  '$1048577\r\n',
  ':1\r\n',
  '+OK\r\n',
  '\r\n',
  '\r',
  '\n',
  '\0',
  '\xff\xfe',
  'PING\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /k HTTP/1.1\r\n',
  'Host: x\r\n',
].map((text) => Buffer.from(text, 'latin1'));

/** An endless supply; the same for the same seed. */
export function* fuzzInputs(seed: number): Generator<FuzzInput, never> {
  const { pick, chance } = randomFrom(seed);
  const below = (count: number) => pick(Array.from({ length: Math.max(1, count) }, (_, i) => i));
  const sampled = fc.sample(fc.array(commands, { minLength: 1, maxLength: COMMANDS_MAX }), {
    seed,
    numRuns: SESSIONS,
  });
  const sessions = sampled.map((script) =>
    Buffer.concat(script.flatMap((args) => (chance(0.2) ? [pick(OTHERS), args] : [args])).map(encode)),
  );
  const at = (bytes: Buffer): number => below(Math.min(bytes.length, 4096) + 1);

  const noise = (): Buffer => {
    const bytes = Buffer.alloc(below(64));
    const isText = chance(0.5);
    for (let i = 0; i < bytes.length; i++) bytes[i] = isText ? pick(LETTERS) : below(256);
    return bytes;
  };
  const mutations: ((bytes: Buffer) => Buffer)[] = [
    (bytes) => flipped(bytes, at(bytes), 1 << below(8)),
    (bytes) => spliced(bytes, at(bytes), 0, pick(PIECES)),
    (bytes) => spliced(bytes, at(bytes), below(8), Buffer.alloc(0)),
    (bytes) => spliced(bytes, at(bytes), below(4), noise()),
    (bytes) => bytes.subarray(0, at(bytes)),
    (bytes) => bytes.subarray(at(bytes)),
    (bytes) => renumbered(bytes, at(bytes), pick(NUMBERS)),
    (bytes) => Buffer.concat([bytes.subarray(0, at(bytes)), pick(sessions)]),
  ];
  const bytesOf = (): Buffer => {
    if (chance(0.2)) return noise();
    let bytes: Buffer = pick(sessions);
    while (chance(0.6)) bytes = pick(mutations)(bytes);
    return bytes;
  };
  for (;;) {
    const bytes = bytesOf();
    const pieces: Buffer[] = [];
    let from = 0;
    while (chance(0.3) && from < bytes.length) {
      const to = from + 1 + below(Math.min(bytes.length - from, 512));
      pieces.push(bytes.subarray(from, to));
      from = to;
    }
    pieces.push(bytes.subarray(from));
    yield { pieces, end: chance(0.1) ? 'reset' : 'finish' };
  }
}

const LETTERS = [...Buffer.from('*$:+-_#,(!=%~>0123456789\r\n GETSPOHost'), 0];

function flipped(bytes: Buffer, at: number, mask: number): Buffer {
  const copy = Buffer.from(bytes);
  if (at < copy.length) copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
}

const spliced = (bytes: Buffer, at: number, gone: number, added: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + gone)]);

/** The next number behind `at` becomes another. */
function renumbered(bytes: Buffer, at: number, number: string): Buffer {
  const text = bytes.toString('latin1');
  const digits = /[0-9]+/g;
  digits.lastIndex = at;
  const match = digits.exec(text);
  return match === null ? bytes : spliced(bytes, match.index, match[0].length, Buffer.from(number));
}
