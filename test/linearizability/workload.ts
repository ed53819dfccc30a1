// Clients of the SDK that fight for few keys while their server is killed under them, again and again.
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type FlowMesh } from '@flowmesh/client';
import { type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { History, type Output } from './history.ts';

export interface WorkloadOptions {
  readonly dataDir: string;
  readonly shards: number;
  readonly clients: number;
  readonly kills: number;
  /** Between two kills, at most. */
  readonly lifeMs: number;
  readonly chance: () => number;
}

/** Small segments and frequent checkpoints, so that kills meet them in every state. */
const storage = { segmentBytes: 1024 * 1024, checkpointBytes: 256 * 1024 };
const REGISTERS = ['r0', 'r1', 'r2'];
const COUNTERS = ['c0', 'c1'];
/** A key lives across so many kills: each outcome that stays unknown doubles what the checker has to try. */
const KILLS_OF_A_KEY = 2;
/** Of the patient, who retry across a restart; and of the others, who often do not learn the outcome. */
const [PATIENT, HASTY] = ['60s', '200ms'];
const HASTY_CLIENTS = 2;

export async function runWorkload(options: WorkloadOptions): Promise<History> {
  const { dataDir, shards, kills, lifeMs, chance } = options;
  const history = new History();
  let server: ServerProcess = await startServerProcess({ dataDir, shards, storage });
  const { grpcPort, address } = server;
  const stop = { isSet: false };
  const generation = () => Math.floor(killed / KILLS_OF_A_KEY);
  let killed = 0;
  try {
    const clients = Array.from({ length: options.clients }, (_, i) =>
      runClient(i, address, { history, chance, stop, generation }),
    );
    for (let kill = 0; kill < kills; kill++) {
      await sleep(lifeMs * (0.5 + chance() / 2));
      await server.kill('SIGKILL');
      server = await startServerProcess({ dataDir, shards, storage, grpcPort });
      killed++;
    }
    await sleep(lifeMs / 2);
    stop.isSet = true;
    await Promise.all(clients);
  } finally {
    stop.isSet = true;
    await server.kill('SIGKILL');
  }
  return history;
}

interface ClientParts {
  readonly history: History;
  readonly chance: () => number;
  readonly stop: { isSet: boolean };
  readonly generation: () => number;
}

async function runClient(
  client: number,
  address: string,
  { history, chance, stop, generation }: ClientParts,
): Promise<void> {
  const fm = await connect({ address, deadline: client < HASTY_CLIENTS ? HASTY : PATIENT });
  const pick = (names: readonly string[]) => `${names[Math.floor(chance() * names.length)]}.${generation()}`;
  const revisions = new Map<string, number>();
  try {
    for (let n = 0; !stop.isSet; n++) {
      const key = pick(chance() < 0.2 ? COUNTERS : REGISTERS);
      const parts = { history, client, key, chance };
      const output = key.startsWith('c')
        ? await count(fm, parts)
        : await act(fm, parts, `${client}.${n}`, revisions.get(key) ?? 0);
      if (!output.unknown && output.revision !== undefined) revisions.set(key, output.revision);
      // One open outcome per client and kill is enough: it goes on when it is answered again.
      while (output.unknown && !stop.isSet && !(await isAnswered(fm))) await sleep(20);
      // Others get their turn, and the history stays as short as it is contended.
      await sleep(chance() * 4);
    }
  } finally {
    await fm.close({ timeout: 0 });
  }
}

interface Act {
  readonly history: History;
  readonly client: number;
  readonly key: string;
  readonly chance: () => number;
}

const isAnswered = (fm: FlowMesh) =>
  fm.kv.get('answer').then(
    () => true,
    () => false,
  );

function count(fm: FlowMesh, { history, client, key, chance }: Act): Promise<Output> {
  if (chance() < 0.4) return history.record(client, key, { kind: 'get' }, () => read(fm, key));
  const delta = 1 + Math.floor(chance() * 9);
  const input = { kind: 'increment', delta } as const;
  return history.record(client, key, input, async () => ({
    value: String(await fm.kv.increment(key, delta)),
  }));
}

function act(fm: FlowMesh, { history, client, key, chance }: Act, value: string, ifRevision: number) {
  const which = chance();
  if (which < 0.45) return history.record(client, key, { kind: 'get' }, () => read(fm, key));
  if (which < 0.6)
    return history.record(client, key, { kind: 'set', value }, async () => {
      const { revision } = await fm.kv.set(key, value);
      return { found: true, revision };
    });
  if (which < 0.7)
    return history.record(client, key, { kind: 'delete' }, async () => ({ found: await fm.kv.delete(key) }));
  const conditions = ifRevision === 0 ? { ifAbsent: true } : { ifRevision };
  const input =
    ifRevision === 0 ? ({ kind: 'create', value } as const) : ({ kind: 'swap', value, ifRevision } as const);
  return history.record(client, key, input, async () => {
    const { applied, revision } = await fm.kv.set(key, value, conditions);
    return { found: applied, revision };
  });
}

async function read(fm: FlowMesh, key: string): Promise<Output> {
  const entry = await fm.kv.getEntry<unknown>(key);
  return entry === undefined
    ? { found: false, revision: 0 }
    : { found: true, value: String(entry.value), revision: entry.revision };
}
