// The operator killed at any moment, beside others that write the same objects: what was applied is there in
// the end, once, and what was deleted is gone.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../e2e/parts/process.ts';
import { type DataPlane, Fleet } from './fleet.ts';

let fleet: Fleet;
let main: DataPlane;
const operator = () =>
  fleet.operator({ times: { figuresMs: 1000, graceMs: 1000 } }, ['--leader-elect', 'false']);

beforeAll(async () => {
  fleet = await Fleet.start();
  main = await fleet.dataPlane('default/main');
  await fleet.create('FlowMeshCluster', 'default/main');
});
afterAll(() => fleet?.stop());

test('an operator that is killed again and again loses nothing and leaves nothing behind', async () => {
  const kills = 6;
  const perRound = 20;
  const pause = (round: number) => 30 + ((round * 137) % 400);
  for (let round = 0; round < kills; round++) {
    const running = await operator();
    const names = Array.from({ length: perRound }, (_, i) => `default/r${round}-${i}`);
    const work = (async () => {
      for (const name of names) await fleet.create('Queue', name, { deletionPolicy: 'Delete' });
      if (round === 0) return;
      for (let i = 0; i < perRound; i++) {
        if (i % 2 === 0) await fleet.delete('Queue', `default/r${round - 1}-${i}`);
        else await fleet.patch('Queue', `default/r${round - 1}-${i}`, { spec: { limits: { maxDepth: 9 } } });
      }
    })();
    await sleep(pause(round));
    await running.kill('SIGKILL');
    await work;
  }
  const last = await operator();
  const all = Array.from({ length: kills }, (_, round) =>
    Array.from({ length: perRound }, (_, i) => ({ name: `r${round}-${i}`, round, i })),
  ).flat();
  const isDeleted = ({ round, i }: { round: number; i: number }) => round < kills - 1 && i % 2 === 0;
  for (const each of all) {
    if (isDeleted(each)) await fleet.gone('Queue', `default/${each.name}`);
    else await fleet.condition('Queue', `default/${each.name}`, 'Ready=True');
  }
  const { queues } = await main.api.listQueues({});
  const wanted = all.filter((each) => !isDeleted(each));
  expect(queues.map(({ spec }) => spec?.name).sort()).toEqual(wanted.map(({ name }) => name).sort());
  for (const { name, round } of wanted) {
    const queue = queues.find(({ spec }) => spec?.name === name);
    expect([name, queue?.spec?.maxDepth, queue?.drifted]).toEqual([name, round < kills - 1 ? 9 : 0, false]);
  }
  await last.kill('SIGTERM');
});

test('schemas and who names them, in any order around kills: in force in the end, or gone', async () => {
  const rounds = 5;
  const perRound = 10;
  const version = (number: number) => ({ version: number, fields: { id: 'string' } });
  const both = ['Schema', 'Queue'] as const;
  /** Now the one first, now the other. */
  const orderOf = (i: number) => (i % 4 < 2 ? both : both.toReversed());
  const specs = (name: string) => ({
    Schema: { deletionPolicy: 'Delete', versions: [version(1)] },
    Queue: { deletionPolicy: 'Delete', schemaRef: { name } },
  });
  const isDeleted = (round: number, i: number) => round < rounds - 1 && i % 2 === 0;
  for (let round = 0; round < rounds; round++) {
    const running = await operator();
    const work = (async () => {
      for (let i = 0; i < perRound; i++) {
        const name = `s${round}-${i}`;
        for (const kind of orderOf(i)) await fleet.create(kind, `default/${name}`, specs(name)[kind]);
        if (round === 0) continue;
        const before = `default/s${round - 1}-${i}`;
        if (isDeleted(round - 1, i)) for (const kind of orderOf(i)) await fleet.delete(kind, before);
        else await fleet.patch('Schema', before, { spec: { versions: [version(1), version(2)] } });
      }
    })();
    await sleep(50 + ((round * 211) % 500));
    await running.kill('SIGKILL');
    await work;
  }
  const last = await operator();
  const wanted: [string, number][] = [];
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < perRound; i++) {
      const name = `s${round}-${i}`;
      if (!isDeleted(round, i)) wanted.push([name, round < rounds - 1 ? 2 : 1]);
      for (const kind of both) {
        if (isDeleted(round, i)) await fleet.gone(kind, `default/${name}`);
        else await fleet.condition(kind, `default/${name}`, 'Ready=True/Ready');
      }
    }
  }
  const { schemas } = await main.api.listSchemas({});
  expect(schemas.map(({ spec, latestVersion }) => [spec?.name, latestVersion])).toEqual(wanted);
  const { queues } = await main.api.listQueues({});
  const named = queues.flatMap(({ spec }) => spec?.schemaRef?.name ?? []);
  expect(named.sort()).toEqual(wanted.map(([name]) => name));
  await last.kill('SIGTERM');
});

test('a restart of the API server and a history that it has lost disturb nothing', async () => {
  const running = await operator();
  await fleet.create('Queue', 'default/mine');
  const { status } = await fleet.condition('Queue', 'default/mine', 'Ready=True');
  await fleet.plane.restartApiServer('SIGKILL');
  await fleet.create('Queue', 'default/after');
  await fleet.condition('Queue', 'default/after', 'Ready=True', 60_000);
  expect((await fleet.get('Queue', 'default/mine'))?.status).toEqual(status);
  await fleet.plane.forgetHistory();
  await fleet.patch('Queue', 'default/after', { spec: { limits: { maxDepth: 3 } } });
  await until(
    'the change',
    async () => {
      const { queues } = await main.api.listQueues({});
      return queues.some(({ spec }) => spec?.name === 'after' && spec.maxDepth === 3);
    },
    { timeoutMs: 60_000 },
  );
  await running.kill('SIGTERM');
});
