// Free ports on loopback, below those that the kernel gives to outgoing connections: a port stays ours while
// its server restarts. Two may still pick the same one at the same moment, so who starts servers tries again.

import { createServer } from 'node:net';

const FIRST = 18_000;
const COUNT = 14_000;

export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
