// A V8 CPU profile as a tree of time, by function: what a flame graph and a table are drawn from.

/** The file of `node --cpu-prof` (Chrome DevTools protocol, Profiler.Profile). */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[];
}

export interface Frame {
  readonly name: string;
  /** Of the house, or whose else the code is. */
  readonly area: string;
  selfMs: number;
  totalMs: number;
  readonly children: Map<string, Frame>;
}

const IDLE = new Set(['(idle)', '(program)']);

/** Idle time is left out. */
export function framesOf(profile: CpuProfile): Frame {
  const selfMs = new Map<number, number>();
  profile.samples.forEach((id, i) => {
    selfMs.set(id, (selfMs.get(id) ?? 0) + (profile.timeDeltas[i] ?? 0) / 1000);
  });
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const root: Frame = frame('all', '');
  const add = (id: number, parent: Frame): number => {
    const node = nodes.get(id);
    if (node === undefined || IDLE.has(node.callFrame.functionName)) return 0;
    const { functionName, url, lineNumber } = node.callFrame;
    const name = functionName || `(anonymous ${url.split('/').at(-1)}:${lineNumber + 1})`;
    const key = `${name} ${url}`;
    const into = parent.children.get(key) ?? frame(name, areaOf(functionName, url));
    parent.children.set(key, into);
    const self = selfMs.get(id) ?? 0;
    const total = (node.children ?? []).reduce((sum, child) => sum + add(child, into), self);
    into.selfMs += self;
    into.totalMs += total;
    return total;
  };
  const [first] = profile.nodes;
  for (const child of first?.children ?? []) root.totalMs += add(child, root);
  return root;
}

const frame = (name: string, area: string): Frame => ({
  ...{ name, area, selfMs: 0, totalMs: 0, children: new Map() },
});

export function areaOf(functionName: string, url: string): string {
  if (functionName === '(garbage collector)') return 'garbage collection';
  const house = /\/(dataplane\/(?:api\/)?[\w-]+|proto|sdk\/node|cli|test)\//.exec(url);
  const packaged = /node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\//.exec(url);
  if (packaged?.[1] !== undefined) return packaged[1];
  if (house?.[1] !== undefined) return house[1];
  return url.startsWith('node:') || url === '' ? 'Node.js' : 'other';
}

/** Self time by area, the largest first. */
export function areasOf(root: Frame): { area: string; selfMs: number }[] {
  const sums = new Map<string, number>();
  const visit = (each: Frame) => {
    sums.set(each.area, (sums.get(each.area) ?? 0) + each.selfMs);
    for (const child of each.children.values()) visit(child);
  };
  visit(root);
  return [...sums]
    .map(([area, selfMs]) => ({ area, selfMs }))
    .filter(({ selfMs }) => selfMs > 0)
    .sort((a, b) => b.selfMs - a.selfMs);
}

/** Functions by self time, wherever they were called from. */
export function functionsOf(root: Frame): { name: string; area: string; selfMs: number }[] {
  const sums = new Map<string, { name: string; area: string; selfMs: number }>();
  const visit = ({ name, area, selfMs, children }: Frame) => {
    const key = `${name} ${area}`;
    const sum = sums.get(key) ?? { name, area, selfMs: 0 };
    sum.selfMs += selfMs;
    sums.set(key, sum);
    for (const child of children.values()) visit(child);
  };
  visit(root);
  return [...sums.values()].sort((a, b) => b.selfMs - a.selfMs);
}
