// Many lines of a file or pipe: batches, progress for people, and an honest account however it ends.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterAll, expect, test } from 'vitest';
import { flowmesh } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-lines-'));
afterAll(() => rmSync(dir, { recursive: true }));
const file = (text: string) => {
  const path = join(dir, 'lines.jsonl');
  writeFileSync(path, text);
  return path;
};

/** A server that keeps the values it is sent, batch by batch. */
function keeping() {
  const batches: string[][] = [];
  const publish = ({ records }: pb.PublishRequestInput) => {
    batches.push((records ?? []).map(({ value }) => Buffer.from(value ?? []).toString()));
    return { offsets: [] };
  };
  return { batches, answers: { publish } };
}

test('each line of a file is a record, byte for byte, in order, in batches', async () => {
  const { batches, answers } = keeping();
  const lines = Array.from({ length: 2500 }, (_, n) => `{"n":${n},"text":"日本語 \\u001b"}`);
  // Another line ending, an empty line, and no newline at the end.
  const path = file(`${lines.join('\n').replace('\n', '\r\n\n')}`);
  const ran = await flowmesh(['stream', 'write', 's', '--file', path], answers);
  expect(ran).toMatchObject({ code: 0, out: '2,500 records written\n', err: '' });
  expect(batches.flat()).toEqual(lines);
  expect(batches.length).toBeGreaterThan(2);
  expect(Math.max(...batches.map(({ length }) => length))).toBeLessThanOrEqual(1000);
});

test('no batch is larger than the server takes', async () => {
  const { batches, answers } = keeping();
  const path = file(Array.from({ length: 5 }, () => 'x'.repeat(700_000)).join('\n'));
  expect((await flowmesh(['stream', 'write', 's', '--file', path], answers)).code).toBe(0);
  expect(batches.map(({ length }) => length)).toEqual([1, 1, 1, 1, 1]);
});

test('lines of a pipe are sent when they come, not when a batch is full', async () => {
  const stdin = new PassThrough();
  const arrived = Promise.withResolvers<void>();
  const { batches, answers } = keeping();
  const publish: typeof answers.publish = (request) => {
    arrived.resolve();
    return answers.publish(request);
  };
  const running = flowmesh('stream write s', { publish }, { stdin });
  stdin.write('first\nsec');
  await arrived.promise;
  expect(batches).toEqual([['first']]);
  stdin.end('ond');
  expect(await running).toMatchObject({ code: 0, out: '2 records written\n' });
  expect(batches).toEqual([['first'], ['second']]);
});

test('Ctrl-C leaves a pipe that says nothing, and tells what is written; half a line is not', async () => {
  const stdin = new PassThrough();
  const interrupt = new AbortController();
  const { batches, answers } = keeping();
  const publish: typeof answers.publish = (request) => {
    setImmediate(() => interrupt.abort());
    return answers.publish(request);
  };
  stdin.write('a\nb\nhalf a li');
  const ran = await flowmesh('stream write s', { publish }, { stdin, interrupt: interrupt.signal });
  expect(ran).toMatchObject({ code: 130, out: '' });
  expect(ran.err).toBe('error: interrupted: written of standard input: the first 2 records\n');
  expect(batches).toEqual([['a', 'b']]);
});

test('a failure tells how many lines are there, and where one goes on', async () => {
  const path = file(Array.from({ length: 2500 }, (_, n) => `job ${n}`).join('\n'));
  let sent = 0;
  const enqueue = () => {
    if (++sent > 2) throw new FlowError('QUEUE_FULL', 'queue q has 2000 jobs, its limit');
    return { jobs: [] };
  };
  const ran = await flowmesh(['queue', 'enqueue', 'q', '--file', path], { enqueue });
  expect(ran).toMatchObject({ code: 1, out: '' });
  expect(ran.err).toMatch(
    /^enqueued of .*lines\.jsonl: the first 2,000 jobs\nerror: queue q has 2000 jobs.* \(QUEUE_FULL\)\n/,
  );
});

test('a line without the key field stops before its batch, and is named', async () => {
  const { batches, answers } = keeping();
  const path = file('{"id":1}\n\n{"name":"x"}\n{"id":3}\n');
  const ran = await flowmesh(['stream', 'write', 's', '--file', path, '--key-field', 'id'], answers);
  expect(ran.code).toBe(1);
  expect(ran.err).toContain('lines.jsonl is written');
  expect(ran.err).toContain('error: line 3 has no field id that could be a key\n');
  expect(batches).toEqual([]);
});

test('people see a bar that fits the terminal and is gone at the end; pipes see nothing of it', async () => {
  const path = file(Array.from({ length: 3000 }, (_, n) => `line ${n}`).join('\n'));
  let nowMs = 0;
  const publish = () => {
    nowMs += 500;
    return { offsets: [] };
  };
  const write = (columns: number, errTty: boolean) =>
    // The name must be taken neither for a placeholder of the bar nor for a command.
    flowmesh(
      ['stream', 'write', '{bar}\u001b[2J', '--file', path],
      { publish },
      {
        ...{ columns, errTty, nowMs: () => nowMs },
      },
    );
  const { err, out } = await write(80, true);
  // What stands between the commands to the terminal.
  const visible = (text: string) =>
    text.split('\u001b').map((part) => part.replace(/^(?:\[[0-9;?]*[A-Za-z]|[78])/, ''));
  expect(visible(err).find((line) => line.includes('3,000'))).toMatch(
    /^write \{bar\}\\e\[2J {2}█{24} 100% {2}3,000 records {2}\d,\d{3}\/s/,
  );
  expect(err.endsWith('\u001b[2K')).toBe(true);
  expect(err).not.toContain('\u001b[?25l');
  expect(out).toBe('3,000 records written\n');
  const narrow = await write(40, true);
  expect(narrow).toMatchObject({ code: 0, out: '3,000 records written\n' });
  expect(Math.max(...visible(narrow.err).map(({ length }) => length))).toBeLessThanOrEqual(40);
  expect((await write(80, false)).err).toBe('');
});

test('redrive moves page by page to the end, and Ctrl-C stops between pages', async () => {
  const answers = () => {
    let remaining = 2500;
    return {
      redrive: ({ max }: { max: number }) => {
        const moved = Math.min(max, remaining);
        remaining -= moved;
        return { moved, remaining };
      },
    };
  };
  const all = await flowmesh('queue redrive q.dead --to q', answers());
  expect(all).toMatchObject({ code: 0, out: '2,500 jobs moved\n' });
  expect(all.calls.map(([, { max, targetQueue }]) => [max, targetQueue])).toEqual([
    [1000, 'q'],
    [1000, 'q'],
    [1000, 'q'],
  ]);
  const some = await flowmesh('queue redrive q.dead --max 1200', answers());
  expect(some.out).toBe('1,200 jobs moved, 1,300 remain\n');
  const stopped = await flowmesh('queue redrive q.dead', answers(), { interrupt: AbortSignal.abort() });
  expect(stopped).toMatchObject({ code: 130, out: '', err: 'error: interrupted: 1,000 jobs moved\n' });
});

test.each([
  ['queue enqueue q x --file f', 'give one of the two'],
  ['queue enqueue q --file f --dedup-key d', 'all lines but the first would be dropped'],
  ['stream write s x --file f', 'give one of the two'],
  ['stream write s', 'pipe lines in'],
  ['queue enqueue q', 'write it after the queue, or pipe it in'],
  ['stream write s --file -', 'pipe lines in, or give --file'],
])('%s is refused before anything is sent', async (line, hint) => {
  const { code, err, calls } = await flowmesh(line);
  expect([code, calls]).toEqual([2, []]);
  expect(err).toContain(hint);
});

test('a file that is not there is said as the system says it', async () => {
  const { code, err } = await flowmesh('stream write s --file /nowhere/x');
  expect([code, err]).toEqual([1, "error: ENOENT: no such file or directory, open '/nowhere/x'\n"]);
});
