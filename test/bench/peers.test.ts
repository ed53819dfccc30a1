// How the figures of peers are shown: medians, spread, tables, a plot, and their place in the document.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cell, markdownTable, plot, type Result, terminalTable, written } from '../../bench/peers/report.ts';

const result: Result = {
  name: 'jobs',
  title: 'Jobs <all>',
  how: 'As it is.',
  columns: [
    { name: 'rate', unit: 'jobs/s' },
    { name: 'p50', unit: 'ms', isCost: true },
  ],
  rows: [
    {
      system: 'FlowMesh',
      version: '1',
      durability: 'synced',
      rounds: [
        [3000, 0.5],
        [1000, 0.25],
        [2000, 1],
      ],
    },
    { system: 'Other', version: '2', durability: 'not synced', rounds: [[500, undefined]] },
    { system: 'Absent', version: '', durability: 'synced', rounds: [], skipped: 'no such package' },
  ],
};

test('a cell is the median, with the spread of several rounds', () => {
  const [ours, other] = result.rows;
  if (ours === undefined || other === undefined) throw new Error('no rows');
  expect(cell(ours, 0, 'jobs/s')).toBe('2.0 k (1.0 k to 3.0 k)');
  expect(cell(ours, 1, 'ms')).toBe('0.50 (0.25 to 1.00)');
  expect(cell(other, 0, 'jobs/s')).toBe('500');
  expect(cell(other, 1, 'ms')).toBe('');
  expect(cell({ ...ours, rounds: [[1834.4]] }, 0, 'ms')).toBe('1,834');
});

test('tables name what was skipped, and why', () => {
  expect(markdownTable(result).split('\n')).toEqual([
    '| system | version | before an answer | rate, jobs/s | p50, ms |',
    '| --- | --- | --- | --- | --- |',
    '| FlowMesh | 1 | synced | 2.0 k (1.0 k to 3.0 k) | 0.50 (0.25 to 1.00) |',
    '| Other | 2 | not synced | 500 |  |',
    '| Absent |  | synced | skipped: no such package |  |',
  ]);
  const lines = terminalTable(result).split('\n');
  expect(new Set(lines.map((line) => line.length)).size).toBe(1);
});

test('the plot has a bar for each figure, and no name can break out of it', () => {
  const svg = plot(result);
  expect(svg.match(/<rect/g)).toHaveLength(3);
  expect(svg).toContain('Jobs &lt;all&gt;');
});

test('a document gets a section once, and what is around it stays', () => {
  const once = written('# B\n\nbefore\n', result, 'here');
  expect(once).toContain('before\n\n<!-- peers jobs begin -->\n### Jobs <all>\nAs it is. here\n');
  const twice = written(`${once}\nafter\n`, { ...result, how: 'Anew.' }, 'here');
  expect(twice).toContain('Anew. here');
  expect(twice).not.toContain('As it is.');
  expect(twice.endsWith('<!-- peers jobs end -->\n\nafter\n')).toBe(true);
});

const refused = [
  [[], 'no class of work'],
  [['nothing'], '"nothing" is no class of work'],
  [['jobs', '--rounds', '0'], 'from 1 to 100'],
  [['kv', '--seconds', 'x'], 'from 1 to 100'],
  [['kv', '--round', '1'], "Unknown option '--round'"],
  [['kv', '--only', 'redis,mongo'], '"mongo" is part of no name; there are FlowMesh; RabbitMQ'],
] as const;

test.each(refused)('%j is refused with what is allowed', (args, why) => {
  const script = join(import.meta.dirname, '../../bench/peers.ts');
  const { status, stderr } = spawnSync(process.execPath, ['--conditions=flowmesh-source', script, ...args], {
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([2, expect.stringContaining('jobs|streams|kv|latency|footprint|all')]);
  expect(stderr).toContain(why);
});
