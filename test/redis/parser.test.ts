import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GET, ProtocolError, RequestParser, SET } from '../../dataplane/api/redis/parser.ts';
import { encode } from './resp-client.ts';

const LIMITS = { argumentsMax: 8, argumentBytesMax: 64, requestBytesMax: 256 };

function parse(chunks: readonly Buffer[], limits = LIMITS): string[][] {
  const parser = new RequestParser(limits);
  const requests: string[][] = [];
  for (const chunk of chunks)
    parser.feed(chunk, (parts) => requests.push(parts.map((p) => p.toString('latin1'))));
  return requests;
}

/** The bytes in pieces that end at these places. */
function split(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set([...places.map((p) => p % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
}

test('requests are the same however their bytes are cut into pieces', () => {
  const argument = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
  const requests = fc.array(fc.array(argument, { minLength: 1, maxLength: 5 }), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(requests, fc.array(fc.nat(), { maxLength: 10 }), (sent, places) => {
      expect(parse(split(Buffer.concat(sent.map(encode)), places))).toEqual(sent);
    }),
  );
});

test('bytes of any kind are requests, or a protocol error, or the beginning of something', () => {
  const alphabet = fc.constantFrom(...'*$\r\n0123456789-+GET ', '\x00', '\xff');
  fc.assert(
    fc.property(
      fc.array(alphabet, { maxLength: 60 }),
      fc.array(fc.nat(), { maxLength: 4 }),
      (bytes, places) => {
        try {
          parse(split(Buffer.from(bytes.join(''), 'latin1'), places));
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      },
    ),
    { numRuns: 20_000 },
  );
});

test.each([
  ['an inline command', 'PING\r\n', 'expected an array'],
  ['an HTTP request', 'POST / HTTP/1.1\r\nHost: x\r\n\r\n', 'expected an array'],
  ['too many arguments', '*9\r\n', 'invalid multibulk length'],
  ['an argument that is too long', '*1\r\n$65\r\n', 'invalid bulk length'],
  ['a negative length', '*1\r\n$-1\r\n', 'invalid bulk length'],
  ['no number at all', '*x\r\n', 'invalid length'],
  ['a number without end', '*11111111111111111111', 'invalid length'],
  ['another type inside', '*1\r\n:1\r\n', "expected '$'"],
  ['an argument that goes on', '*1\r\n$1\r\nab\r\n', 'expected CR LF'],
])('%s ends the connection', (_, text, message) => {
  expect(() => parse([Buffer.from(text)])).toThrow(message);
});

test('limits hold exactly', () => {
  const words = (count: number) => Array.from({ length: count }, () => 'x');
  expect(parse([encode(words(8))])).toEqual([words(8)]);
  expect(parse([encode(['x'.repeat(64)])])).toEqual([['x'.repeat(64)]]);
  expect(() => parse([encode(Array.from({ length: 5 }, () => 'x'.repeat(60)))])).toThrow(
    'the request is too large',
  );
});

test('GET and SET come as the same objects, in any case, other names as they were sent', () => {
  const parser = new RequestParser(LIMITS);
  const names: Buffer[] = [];
  const sent = ['get', 'GET', 'Set', 'sEt', 'MGET', 'gat', 'se', ''];
  parser.feed(Buffer.concat(sent.map((name) => encode([name]))), ([name]) => names.push(name as Buffer));
  expect(names.slice(0, 4).map((name) => (name === GET ? 'GET' : name === SET && 'SET'))).toEqual([
    'GET',
    'GET',
    'SET',
    'SET',
  ]);
  expect(names.slice(4).map(String)).toEqual(sent.slice(4));
});

test('a long argument may come byte by byte', () => {
  const value = 'v'.repeat(5000);
  const bytes = encode(['SET', 'k', value]);
  const limits = { ...LIMITS, argumentBytesMax: 5000, requestBytesMax: 6000 };
  expect(
    parse(
      [...bytes].map((byte) => Buffer.from([byte])),
      limits,
    ),
  ).toEqual([['SET', 'k', value]]);
});
