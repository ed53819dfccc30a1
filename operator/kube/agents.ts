// Kept-alive connections for the credentials of now.
//   1. Rotated certificates get new connections; those of the old ones end when their answers have.
import { createHash } from 'node:crypto';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Access, TlsMaterial } from './credentials.ts';

const FREE_MAX = 4;
/** Below the idle times of load balancers. */
const KEEP_ALIVE_MS = 30_000;

export class AgentSlot {
  readonly #socketsMax: number;
  #fingerprint = '';
  #agent: HttpAgent | undefined;

  constructor(socketsMax: number) {
    this.#socketsMax = socketsMax;
  }

  agentFor(url: URL, access: Access): HttpAgent {
    if (access.agent !== undefined) return access.agent;
    const fingerprint = fingerprintOf(access.tls);
    if (this.#agent === undefined || fingerprint !== this.#fingerprint) {
      const old = this.#agent;
      const common = {
        keepAlive: true,
        keepAliveMsecs: KEEP_ALIVE_MS,
        maxSockets: this.#socketsMax,
        maxFreeSockets: FREE_MAX,
      };
      this.#agent =
        url.protocol === 'http:' ? new HttpAgent(common) : new HttpsAgent({ ...common, ...access.tls });
      this.#fingerprint = fingerprint;
      retire(old);
    }
    return this.#agent;
  }

  close(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }
}

// `destroy` would cut answers that are on their way.
function retire(agent: HttpAgent | undefined): void {
  if (agent === undefined) return;
  (agent as HttpAgent & { keepAlive: boolean }).keepAlive = false;
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) socket.destroy();
  }
}

function fingerprintOf(tls: TlsMaterial): string {
  const hash = createHash('sha256');
  for (const part of [tls.ca, tls.cert, tls.key]) hash.update(part ?? '').update('\0');
  return hash.update(`${tls.rejectUnauthorized}${tls.servername}`).digest('base64');
}
