import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openDataDirectory } from '../../dataplane/data-directory.ts';

describe('a data directory', () => {
  let dir: string;
  const chance = () => 0.5;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowmesh-directory-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('is made with its shards, and is the same the next time', () => {
    const first = openDataDirectory(join(dir, 'a/b'), 2, chance);
    expect(existsSync(join(dir, 'a/b/shard-1'))).toBe(true);
    expect(openDataDirectory(join(dir, 'a/b'), 2, chance)).toEqual(first);
  });

  test('of which a shard is missing is damaged, and nothing is made in its place', () => {
    openDataDirectory(dir, 2, chance);
    rmSync(join(dir, 'shard-1'), { recursive: true });
    expect(() => openDataDirectory(dir, 2, chance)).toThrow(/shard-1 is missing/);
    expect(existsSync(join(dir, 'shard-1'))).toBe(false);
  });

  test('with data but without identity gets no new one', () => {
    mkdirSync(join(dir, 'shard-0/journal'), { recursive: true });
    expect(() => openDataDirectory(dir, 1, chance)).toThrow(/flowmesh.json is missing, but shard-0 is there/);
  });

  test('whose making was cut off before its identity is made again', () => {
    mkdirSync(join(dir, 'shard-0'));
    writeFileSync(join(dir, 'flowmesh.json.new'), '');
    expect(openDataDirectory(dir, 1, chance).shards).toBe(1);
  });
});
