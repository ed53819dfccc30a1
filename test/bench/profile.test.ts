// From a CPU profile to shares and a picture.
import { expect, test } from 'vitest';
import { flameSvg } from '../../bench/support/flame-svg.ts';
import { areaOf, areasOf, type CpuProfile, framesOf, functionsOf } from '../../bench/support/profile.ts';

const frame = (functionName: string, url: string) => ({ functionName, url, lineNumber: 9 });
const profile: CpuProfile = {
  nodes: [
    { id: 1, callFrame: frame('(root)', ''), children: [2, 3, 5] },
    { id: 2, callFrame: frame('(idle)', '') },
    { id: 3, callFrame: frame('handle', 'file:///x/dataplane/queue/a.ts'), children: [4] },
    { id: 4, callFrame: frame('', 'file:///x/node_modules/@grpc/grpc-js/build/b.js') },
    { id: 5, callFrame: frame('(garbage collector)', '') },
  ],
  samples: [2, 3, 4, 4, 5],
  timeDeltas: [9000, 1000, 2000, 1000, 1000],
};

test('time is summed by function and by whose code it is, idle time left out', () => {
  const root = framesOf(profile);
  expect(root.totalMs).toBe(5);
  expect(areasOf(root)).toEqual([
    { area: '@grpc/grpc-js', selfMs: 3 },
    { area: 'dataplane/queue', selfMs: 1 },
    { area: 'garbage collection', selfMs: 1 },
  ]);
  expect(functionsOf(root)[0]).toEqual({ name: '(anonymous b.js:10)', area: '@grpc/grpc-js', selfMs: 3 });
});

test.each([
  ['file:///x/dataplane/api/redis/parser.ts', 'dataplane/api/redis'],
  ['file:///x/proto/src/codec.ts', 'proto'],
  ['node:internal/stream', 'Node.js'],
  ['file:///x/node_modules/fastify/lib/a.js', 'fastify'],
])('%s is %s', (url, area) => expect(areaOf('f', url)).toBe(area));

test('the picture has a box for each, as wide as its share, and no name can break out of it', () => {
  const svg = flameSvg(framesOf(profile), '<jobs> & "more"');
  expect(svg).toContain('&#60;jobs&#62; &#38; &#34;more&#34;');
  expect(svg.match(/<rect x=/g)).toHaveLength(3);
  expect(svg).toContain('width="960.0"');
});
