import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { Cursors } from '../../dataplane/api/redis/cursors.ts';

test('a place is found by the scan it was given to, and by no other', () => {
  const cursors = new Cursors();
  const number = cursors.give('a', Buffer.of(1, 0, 255));
  expect(cursors.find('a', number)).toEqual(Buffer.of(1, 0, 255));
  expect(cursors.find('a', number)).toEqual(Buffer.of(1, 0, 255));
  expect(cursors.find('b', number)).toBeUndefined();
  expect(cursors.find('a', number + 1)).toBeUndefined();
});

test('places are bounded, and keep nothing alive of the buffers they came in', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const cursors = new Cursors();
  const first = cursors.give('a', Buffer.of(1));
  collect();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 10_000; i++) {
    cursors.give('a', Buffer.alloc(8192).subarray(0, 20));
    if (i % 1000 === 0) collect();
  }
  collect();
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
  expect(cursors.find('a', first)).toBeUndefined();
});
