// KEDA's side of the scaler, over a real connection: what it may ask, and what it is told when.
import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { ExternalScalerClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { createExternalScaler, STREAMS_MAX } from '../../dataplane/scaling/external-scaler.ts';
import { FakeFabric } from '../api/fake-fabric.ts';
import { collect, refused, startFake, unary, until } from '../api/support.ts';
import { aReading, FakeBoard } from './fake-board.ts';

const tenant = 1;
const orders = { tenant, queue: 'orders' };
const billing = { tenant, stream: 'orders.events', group: 'billing' };
const { INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE } = grpc.status;

const ref = (scalerMetadata: Record<string, string>): pb.ScaledObjectRefInput => ({
  name: 'orders-worker',
  namespace: 'shop',
  // What is meant for KEDA itself comes along.
  scalerMetadata: { scalerAddress: 'main.flowmesh.svc:7070', enableTLS: 'true', ...scalerMetadata },
});
const ofQueue = (metric: string) => ref({ queue: 'orders', metric });
const ofGroup = (metric: string) => ref({ stream: 'orders.events', group: 'billing', metric });

const noFailure = (error: FlowError) => {
  throw error;
};

async function start() {
  const board = new FakeBoard();
  const fabric = Object.assign(new FakeFabric(), { scaling: board });
  const { client, listener } = await startFake({ fabric });
  const keda = client(ExternalScalerClient);
  const isActive = (of: pb.ScaledObjectRefInput) =>
    unary<unknown, pb.IsActiveResponse>(keda, keda.isActive, of);
  const specOf = async (of: pb.ScaledObjectRefInput) =>
    (await unary<unknown, pb.GetMetricSpecResponse>(keda, keda.getMetricSpec, of)).metricSpecs;
  const valuesOf = async (of: pb.ScaledObjectRefInput, metricName: string) => {
    const request: pb.GetMetricsRequestInput = { scaledObjectRef: of, metricName };
    return (await unary<unknown, pb.GetMetricsResponse>(keda, keda.getMetrics, request)).metricValues;
  };
  return { board, fabric, listener, keda, isActive, specOf, valuesOf };
}

test('lag against its target, workers wanted against 1: one value each, as integer and float', async () => {
  const { board, isActive, specOf, valuesOf } = await start();
  board.put(
    orders,
    aReading({ signals: { lag: 12_345 }, advice: { wanted: 7, active: true }, lagTarget: 10_000 / 3 }),
  );
  expect(await specOf(ofQueue('lag'))).toEqual([
    { metricName: 'lag', targetSize: 3333, targetSizeFloat: 10_000 / 3 },
  ]);
  expect(await specOf(ofQueue('demand'))).toEqual([
    { metricName: 'demand', targetSize: 1, targetSizeFloat: 1 },
  ]);
  expect(await valuesOf(ofQueue('lag'), 'lag')).toEqual([
    { metricName: 'lag', metricValue: 12_345, metricValueFloat: 12_345 },
  ]);
  expect(await valuesOf(ofQueue('demand'), 'demand')).toEqual([
    { metricName: 'demand', metricValue: 7, metricValueFloat: 7 },
  ]);
  expect(await isActive(ofQueue('demand'))).toEqual({ result: true });
  board.put(orders, aReading({ advice: { wanted: 0, active: false } }));
  expect(await valuesOf(ofQueue('demand'), 'demand')).toMatchObject([
    { metricName: 'demand', metricValue: 0, metricValueFloat: 0 },
  ]);
  expect(await isActive(ofQueue('lag'))).toMatchObject({ result: false });
});

test('a consumer group by the names of its stream and itself', async () => {
  const { board, isActive, valuesOf } = await start();
  board.put(billing, aReading({ signals: { lag: 3 }, advice: { active: true } }));
  expect(await valuesOf(ofGroup('lag'), 'lag')).toMatchObject([{ metricValue: 3 }]);
  expect(await isActive(ofGroup('lag'))).toEqual({ result: true });
});

test.each(['Held', 'Stalled'] as const)(
  '[E5] %s: lag calls for no more than what is wanted',
  async (reason) => {
    const { board, valuesOf } = await start();
    board.put(orders, aReading({ signals: { lag: 1e6 }, advice: { wanted: 4, reason }, lagTarget: 500 }));
    expect(await valuesOf(ofQueue('lag'), 'lag')).toMatchObject([{ metricValue: 2000 }]);
    board.put(
      orders,
      aReading({ signals: { lag: 1e6 }, advice: { wanted: 4, reason: 'Most' }, lagTarget: 500 }),
    );
    expect(await valuesOf(ofQueue('lag'), 'lag')).toMatchObject([{ metricValue: 1e6 }]);
  },
);

test('lag calls for at most one member per partition, whatever the autoscaler divides', async () => {
  const { board, specOf, valuesOf } = await start();
  /** As the HPA does it, of thousandths: ceil(usage / target). */
  const members = async () => {
    const [{ targetSizeFloat = 0 } = {}] = await specOf(ofGroup('lag'));
    const [{ metricValueFloat = 0 } = {}] = await valuesOf(ofGroup('lag'), 'lag');
    return Math.ceil(Math.floor(metricValueFloat * 1000) / Math.floor(targetSizeFloat * 1000));
  };
  for (const partitions of [1, 2, 3, 7, 12, 99, 1000]) {
    for (const lagTarget of [20, 20 / 3, 10_000 / 7, 1 / 3, 0.0001]) {
      board.put(billing, aReading({ signals: { lag: 1e9, partitions }, lagTarget }));
      expect([partitions, lagTarget, await members()]).toEqual([partitions, lagTarget, partitions]);
    }
  }
  board.put(billing, aReading({ signals: { lag: 30, partitions: 12 }, lagTarget: 20 }));
  expect(await valuesOf(ofGroup('lag'), 'lag')).toMatchObject([{ metricValue: 30 }]);
});

test('a target is never 0, not even where KEDA reads the integer', async () => {
  const { board, specOf } = await start();
  board.put(orders, aReading({ lagTarget: 0.000_01 }));
  expect(await specOf(ofQueue('lag'))).toMatchObject([{ targetSize: 1, targetSizeFloat: 0.001 }]);
});

test('what is not known is UNAVAILABLE and never 0; what is not there is NOT_FOUND', async () => {
  const { board, isActive, specOf, valuesOf } = await start();
  const all = (of: pb.ScaledObjectRefInput) => [isActive(of), specOf(of), valuesOf(of, 'demand')];
  for (const call of all(ofQueue('demand'))) {
    const { code, details } = await refused(call);
    expect(code).toBe(NOT_FOUND);
    expect(details).toContain('no queue orders that asks for scaling; declare it with scaling');
  }
  board.put(orders, 'unknown');
  for (const call of all(ofQueue('demand'))) {
    const { code, details } = await refused(call);
    expect(code).toBe(UNAVAILABLE);
    expect(details).toContain('not known yet how many workers queue orders needs');
  }
});

test('while the server starts or has failed, all of it is UNAVAILABLE', async () => {
  const { board, fabric, isActive } = await start();
  board.put(orders, aReading());
  for (const state of ['starting', 'failed'] as const) {
    fabric.become(state);
    expect((await refused(isActive(ofQueue('lag')))).code).toBe(UNAVAILABLE);
  }
});

test('metadata that names no target or no metric is INVALID_ARGUMENT, and says what to write', async () => {
  const { isActive, valuesOf, board } = await start();
  board.put(orders, aReading());
  const wrong: [Record<string, string>, string][] = [
    [{}, '"metric" is ""'],
    [{ queue: 'orders' }, '"metric" is ""'],
    [{ queue: 'orders', metric: 'Lag' }, '"metric" is "Lag"'],
    [{ metric: 'lag' }, 'no target'],
    [{ metric: 'lag', stream: 's' }, '"stream" is "s"'],
    [{ metric: 'lag', group: 'g' }, '"group" is "g"'],
    [
      { metric: 'lag', queue: 'q', stream: 's', group: 'g' },
      '"queue" is "q", "stream" is "s", "group" is "g"',
    ],
    [{ metric: 'lag', queue: 'q', group: 'g' }, '"queue" is "q", "group" is "g"'],
    [{ metric: 'lag', __proto__: 'x', constructor: 'y' }, 'no target'],
  ];
  for (const [metadata, found] of wrong) {
    const { code, details } = await refused(isActive(ref(metadata)));
    expect(code).toBe(INVALID_ARGUMENT);
    expect(details).toContain(
      `ScaledObject shop/orders-worker: ${found}; write "queue", or "stream" and "group"`,
    );
  }
  const other = await refused(valuesOf(ofQueue('lag'), 'demand'));
  expect([other.code, other.details]).toEqual([
    INVALID_ARGUMENT,
    'the trigger is for the metric lag, not for "demand"',
  ]);
  const none = await refused(valuesOf(undefined as never, 'lag'));
  expect([none.code, none.details]).toEqual([
    INVALID_ARGUMENT,
    expect.stringContaining('without a ScaledObject'),
  ]);
});

test('a trigger on lag where no condition names the lag says so', async () => {
  const { board, specOf } = await start();
  board.put(orders, aReading({ lagTarget: 0 }));
  board.put(billing, aReading({ lagTarget: 0 }));
  const queue = await refused(specOf(ofQueue('lag')));
  expect([queue.code, queue.details]).toEqual([
    INVALID_ARGUMENT,
    expect.stringContaining('"queue_lag > 1_000"'),
  ]);
  const group = await refused(specOf(ofGroup('lag')));
  expect(group.details).toContain('scaling of group billing of stream orders.events has no condition on lag');
  expect(await specOf(ofQueue('demand'))).toHaveLength(1);
});

test('a stream says now whether there is work, and at once when that changes', async () => {
  const { board, keda } = await start();
  board.put(orders, aReading());
  const call = keda.streamIsActive(ofQueue('demand'));
  const heard = collect(call);
  await heard.until(1);
  const work = aReading({ advice: { active: true } });
  board.put(orders, work);
  await heard.until(2);
  board.put(orders, work); // nothing new
  board.put(orders, 'unknown'); // E3
  board.put(orders, aReading());
  await heard.until(3);
  expect(heard.messages.map(({ result }) => result)).toEqual([false, true, false]);
  call.cancel();
  await heard.status;
  await until(() => board.followers === 0);
});

test('a stream that is opened while nothing is known speaks when it is', async () => {
  const { board, keda } = await start();
  board.put(orders, 'unknown');
  const heard = collect(keda.streamIsActive(ofQueue('demand')));
  await until(() => board.followers === 1);
  board.put(orders, aReading({ advice: { active: true } }));
  await heard.until(1);
  expect(heard.messages).toEqual([{ result: true }]);
});

test('a stream of targets says now what one worker stands for, and again when that changes', async () => {
  const { board, keda } = await start();
  board.put(orders, aReading({ lagTarget: 100 }));
  const heard = collect(keda.streamMetricSpec(ofQueue('lag')));
  await heard.until(1);
  board.put(orders, aReading({ lagTarget: 100, signals: { lag: 5 } })); // the same target
  board.put(orders, aReading({ lagTarget: 50.5 }));
  await heard.until(2);
  expect(heard.messages).toEqual([
    { metricSpecs: [{ metricName: 'lag', targetSize: 100, targetSizeFloat: 100 }] },
    { metricSpecs: [{ metricName: 'lag', targetSize: 51, targetSizeFloat: 50.5 }] },
  ]);
  board.put(orders, aReading({ lagTarget: 0 }));
  expect((await heard.status).code).toBe(INVALID_ARGUMENT);
  expect(board.followers).toBe(0);
});

test('streams end with NOT_FOUND when their target goes, and with OK when the server does', async () => {
  const { board, keda, listener } = await start();
  const absent = collect(keda.streamIsActive(ofQueue('lag')));
  expect((await absent.status).code).toBe(NOT_FOUND);
  board.put(orders, aReading());
  const gone = collect(keda.streamIsActive(ofQueue('lag')));
  await gone.until(1);
  board.put(orders, 'not-found');
  expect((await gone.status).code).toBe(NOT_FOUND);
  board.put(orders, aReading());
  const streams = [keda.streamIsActive(ofQueue('lag')), keda.streamMetricSpec(ofQueue('lag'))].map((call) =>
    collect(call as grpc.ClientReadableStream<unknown>),
  );
  await Promise.all(streams.map((stream) => stream.until(1)));
  await listener.close(5000);
  for (const { status } of streams) expect((await status).code).toBe(grpc.status.OK);
  expect(board.followers).toBe(0);
});

test('of one connection no more streams than leave room for its calls; who ends one makes room', async () => {
  const board = new FakeBoard();
  board.put(orders, aReading());
  const scaler = createExternalScaler(board);
  const caller = { identity: 'keda', tenant, deadlineMs: 0 };
  const of = ofQueue('lag') as pb.ScaledObjectRef;
  const { isActive, metricSpec } = STREAMS_MAX;
  const pushed = (peer: string) => scaler.openIsActive(caller, of, () => true, noFailure, peer);
  const specs = (peer: string) => scaler.openMetricSpec(caller, of, () => true, noFailure, peer);
  const sessions = await Promise.all(Array.from({ length: isActive }, () => pushed('a:1')));
  await Promise.all(Array.from({ length: metricSpec }, () => specs('a:1')));
  await expect(pushed('a:1')).rejects.toMatchObject({
    code: 'RESOURCE_EXHAUSTED',
    message: expect.stringContaining(`${isActive} streams of this connection are open`),
  });
  await expect(specs('a:1')).rejects.toMatchObject({ code: 'UNIMPLEMENTED' });
  await pushed('a:2');
  expect(board.followers).toBe(isActive + metricSpec + 1);
  sessions[0]?.close();
  sessions[0]?.close();
  await pushed('a:1');
  await expect(pushed('a:1')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
});

test('a KEDA with more targets than a connection has streams is still answered', async () => {
  const { board, keda, isActive } = await start();
  board.put(orders, aReading());
  const streams = Array.from({ length: 100 }, () => [
    collect<unknown>(keda.streamIsActive(ofQueue('lag'))),
    collect<unknown>(keda.streamMetricSpec(ofQueue('lag'))),
  ]).flat();
  const most = STREAMS_MAX.isActive + STREAMS_MAX.metricSpec;
  const refusals: number[] = [];
  for (const { status } of streams) status.then(({ code }) => refusals.push(code));
  await until(() => refusals.length === streams.length - most);
  const { RESOURCE_EXHAUSTED, UNIMPLEMENTED } = grpc.status;
  expect(new Set(refusals)).toEqual(new Set([RESOURCE_EXHAUSTED, UNIMPLEMENTED]));
  expect(streams.filter(({ messages }) => messages.length > 0)).toHaveLength(most);
  expect(await isActive(ofQueue('lag'))).toMatchObject({ result: false });
});

test('who does not read is told the latest when it reads again, and nothing piles up', async () => {
  const board = new FakeBoard();
  board.put(orders, aReading());
  const said: unknown[] = [];
  let hasRoom = false;
  const session = await createExternalScaler(board).openIsActive(
    { identity: 'keda', tenant, deadlineMs: 0 },
    ofQueue('lag') as pb.ScaledObjectRef,
    ({ result }) => {
      said.push(result);
      return hasRoom;
    },
    noFailure,
    'a:1',
  );
  for (const active of [true, false, true]) board.put(orders, aReading({ advice: { active } }));
  expect(said).toEqual([false]);
  hasRoom = true;
  session.resume();
  expect(said).toEqual([false, true]);
});
