// A flame graph as one SVG file: width is time, callers above what they call, colour tells whose code it is.
import type { Frame } from './profile.ts';

const WIDTH = 1200;
const ROW = 17;
const HEAD = 40;
/** Below this a frame could not be seen. */
const WIDTH_MIN = 0.6;
const CHAR = 6.3;

/** Hue by area: neighbours in the tree of code look alike. */
function colour(area: string): string {
  if (area === 'garbage collection') return 'hsl(0 60% 62%)';
  if (area === 'Node.js') return 'hsl(210 12% 72%)';
  if (area.startsWith('dataplane/api')) return 'hsl(200 65% 66%)';
  if (area === 'dataplane/journal') return 'hsl(28 80% 62%)';
  if (area === 'dataplane/storage') return 'hsl(45 80% 62%)';
  if (area === 'dataplane/shard') return 'hsl(12 70% 66%)';
  if (area.startsWith('dataplane')) return 'hsl(140 45% 62%)';
  if (area === 'proto') return 'hsl(170 45% 60%)';
  return 'hsl(265 45% 74%)';
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

export function flameSvg(root: Frame, title: string): string {
  const boxes: string[] = [];
  let depthMax = 0;
  const draw = (frame: Frame, x: number, depth: number) => {
    const width = (frame.totalMs / root.totalMs) * WIDTH;
    if (width < WIDTH_MIN) return;
    depthMax = Math.max(depthMax, depth);
    const y = HEAD + depth * ROW;
    const share = ((100 * frame.totalMs) / root.totalMs).toFixed(1);
    const self = ((100 * frame.selfMs) / root.totalMs).toFixed(1);
    const tip = `${frame.name}\n${frame.area}\n${share} % of the time, ${self} % itself`;
    const room = Math.floor((width - 4) / CHAR);
    const label = room < 3 ? '' : frame.name.length > room ? `${frame.name.slice(0, room - 1)}…` : frame.name;
    boxes.push(
      `<g><title>${escaped(tip)}</title><rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" ` +
        `height="${ROW - 1}" rx="2" fill="${colour(frame.area)}"/>` +
        `${label && `<text x="${(x + 3).toFixed(1)}" y="${y + 12}">${escaped(label)}</text>`}</g>`,
    );
    let at = x;
    for (const child of [...frame.children.values()].sort((a, b) => b.totalMs - a.totalMs)) {
      draw(child, at, depth + 1);
      at += (child.totalMs / root.totalMs) * WIDTH;
    }
  };
  let at = 0;
  for (const child of [...root.children.values()].sort((a, b) => b.totalMs - a.totalMs)) {
    draw(child, at, 0);
    at += (child.totalMs / root.totalMs) * WIDTH;
  }
  const height = HEAD + (depthMax + 1) * ROW + 8;
  const size = `viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}"`;
  const font = 'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="10.5"';
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${font} role="img">
<rect width="100%" height="100%" fill="#fbfaf7"/>
<text x="8" y="22" font-size="15" font-family="system-ui, sans-serif">${escaped(title)}</text>
<g fill="#1c1c1c">
${boxes.join('\n')}
</g>
</svg>
`;
}
