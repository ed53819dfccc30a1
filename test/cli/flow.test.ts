// flowmesh queue flow, and the tree that queue job shows.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { afterAll, expect, test } from 'vitest';
import { flowmesh, received } from './support.ts';

const dir = mkdtempSync(join(tmpdir(), 'flowmesh-flow-'));
afterAll(() => rmSync(dir, { recursive: true }));
const file = (text: string): string => {
  writeFileSync(join(dir, 'tree.yaml'), text);
  return join(dir, 'tree.yaml');
};
const answers = {
  enqueueFlow: ({ nodes }: { nodes: unknown[] }) =>
    received(pb.EnqueueFlowResponse, { jobs: nodes.map((_, i) => ({ id: `0-1-${i}` })) }) as unknown,
};

const TREE = `
queue: "{o}:order"
payload: { order: 1 }
delay: 5m
children:
  - { queue: "{o}:pay", payload: text, name: payment, onFailure: ignore, priority: 3, headers: { a: b } }
  - queue: "{o}:pack"
    children: [{ queue: "{o}:fetch", payload: [1] }]
`;

test('a tree from YAML or JSON is one request, and shown with its ids', async () => {
  const { out, calls } = await flowmesh(['queue', 'flow', file(TREE)], answers as never);
  const [[, request] = ['', {}]] = calls;
  const nodes = request['nodes'] as pb.FlowNodeInput[];
  expect(nodes.map(({ queue, parent }) => [queue, parent])).toEqual([
    ...[
      ['{o}:order', 0] as const,
      ['{o}:pay', 0] as const,
      ['{o}:pack', 0] as const,
      ['{o}:fetch', 2] as const,
    ],
  ]);
  expect(nodes[1]).toMatchObject({
    ...{ name: 'payment', onFailure: 'ignore' },
    job: { contentType: 'text/plain', priority: 3, headers: { a: Buffer.from('b') } },
  });
  expect(nodes[0]?.job).toMatchObject({ delayMs: 300_000, contentType: 'application/json' });
  expect(out).toBe(
    [
      '0-1-0  {o}:order',
      '├─ 0-1-1  {o}:pay  payment',
      '└─ 0-1-2  {o}:pack',
      '   └─ 0-1-3  {o}:fetch',
      '',
    ].join('\n'),
  );
  const piped = await flowmesh('queue flow - -o json', answers as never, {
    stdin: '{"queue":"q","payload":1}',
  });
  expect(JSON.parse(piped.out)).toEqual({ jobs: [{ id: '0-1-0', queue: 'q' }] });
});

test.each([
  ['queue: [', 'tree.yaml:'],
  ['- a', 'root is not a job'],
  ['payload: 1', 'root.queue is missing'],
  ['{ queue: q, children: [{ queue: q, chlidren: [] }] }', 'root.children[0] has an unknown field chlidren'],
  ['{ queue: q, delay: soon }', 'root.delay is not a duration'],
  ['{ queue: q, children: 5 }', 'root.children is not a list'],
  ['{ queue: q, key: 5 }', 'root.key is not text'],
  ['{ queue: q, headers: { a: 1 } }', 'root.headers.a is not text'],
  ['a: 1\n---\nb: 2', 'has 2 documents'],
])('what is not a tree is refused before anything is sent: %s', async (text, message) => {
  const { code, err, calls } = await flowmesh(['queue', 'flow', file(text)], answers as never);
  expect([code === 0, calls]).toEqual([false, []]);
  expect(err).toContain(message);
});

test('job shows its parent, and the tree of its children', async () => {
  const child = { queue: 'q', state: 'open', onFailure: 'ignore' };
  const pages: Record<string, pb.FlowChildInput[]> = {
    '0-1-0': [
      { ...child, id: '0-1-1', name: 'one', state: 'completed', result: Buffer.from('7') },
      { ...child, id: '0-1-2', state: 'dead', error: 'no\u001bway' },
    ],
    '0-1-2': [{ ...child, id: '0-1-3' }],
  };
  for (const [first] of Object.values(pages)) if (first?.result) first.resultContentType = 'application/json';
  const { out } = await flowmesh('queue job q 0-1-0', {
    getJob: () =>
      received(pb.Job, {
        ...{ id: '0-1-0', queue: 'q', state: 'waiting_children', reason: 'waits for 1 of its 2 children' },
        parent: { queue: 'up', id: '0-2-0' },
        children: { total: 2, open: 1, failed: 1 },
        counters: {},
      }),
    jobHistory: () => received(pb.JobHistoryResponse, {}),
    listChildren: (({ id }: { id: string }) =>
      received(pb.ListChildrenResponse, { children: pages[id] ?? [], counts: {} })) as never,
  });
  expect(out).toContain('parent    0-2-0 of up\n');
  expect(out).toContain('children  2 (1 open, 1 failed)\n');
  expect(out).toContain(
    ['0-1-1  q  one  completed  -> 7', '0-1-2  q  dead: no\\eway', '└─ 0-1-3  q  open', ''].join('\n'),
  );
});
