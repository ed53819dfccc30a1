// What KEDA asks of a scaler (proto/externalscaler), answered from the board.
//   E1. Reads memory and nothing else: KEDA asks some eight times per target in a quarter of a minute.
//   E2. One metric, one value, as integer and as float: KEDA adds up whatever it gets, and takes the float if
//       it is above 0.
//   E3. What is not known is UNAVAILABLE, never 0, so that whoever scales keeps what is there. A stream
//       stays, says nothing, and goes on when it is known again.
//   E4. All targets of one KEDA share a connection, and that has 100 streams: those that stay leave some for
//       calls, which would wait for good. KEDA polls what it has no stream for.
//   E5. A group has no use for more members than partitions, and nobody for more than is wanted where the law
//       holds back, however much waits: lag beyond that is not told.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { lagWorkersMax } from '../../crds/lag-trigger.ts';
import type { Caller } from '../shard/state-machine.ts';
import type { Reading, ScalingBoard, ScalingTarget } from './board.ts';
import { type ScalerMetric, scalerTarget } from './scaler-metadata.ts';

/** Of one connection. What a worker stands for changes with declarations: few have to hear of it at once. */
export const STREAMS_MAX = { isActive: 64, metricSpec: 16 } as const;
/** KEDA keeps thousandths. */
const TARGET_MIN = 0.001;

type Send<Response> = (message: Response) => boolean;
type Fail = (error: FlowError) => void;

/** A stream that is open. */
export interface ScalerSession {
  /** The connection has room again. */
  resume(): void;
  close(): void;
}

export interface ExternalScaler {
  isActive(caller: Caller, ref: pb.ScaledObjectRef): Promise<pb.IsActiveResponseInput>;
  getMetricSpec(caller: Caller, ref: pb.ScaledObjectRef): Promise<pb.GetMetricSpecResponseInput>;
  getMetrics(caller: Caller, request: pb.GetMetricsRequest): Promise<pb.GetMetricsResponseInput>;
  openIsActive(
    caller: Caller,
    ref: pb.ScaledObjectRef,
    send: Send<pb.IsActiveResponseInput>,
    fail: Fail,
    peer: string,
  ): Promise<ScalerSession>;
  openMetricSpec(
    caller: Caller,
    ref: pb.ScaledObjectRef,
    send: Send<pb.GetMetricSpecResponseInput>,
    fail: Fail,
    peer: string,
  ): Promise<ScalerSession>;
}

/**
 * Rejections are INVALID_ARGUMENT, SCALING_NOT_DECLARED, SCALING_UNKNOWN; too many streams are
 * RESOURCE_EXHAUSTED, or UNIMPLEMENTED, after which KEDA does not ask for them again.
 */
export function createExternalScaler(board: ScalingBoard): ExternalScaler {
  const pushes = new Seats(STREAMS_MAX.isActive, (count) => {
    return new FlowError('RESOURCE_EXHAUSTED', `${full(count)}: KEDA polls this target`);
  });
  const specs = new Seats(STREAMS_MAX.metricSpec, (count) => {
    return new FlowError('UNIMPLEMENTED', `${full(count)}: ask by GetMetricSpec`);
  });

  function known(target: ScalingTarget): Reading {
    const reading = board.read(target);
    if (reading === 'unknown') throw unknown(target);
    if (reading === 'not-found') throw notFound(target);
    return reading;
  }

  /** Sends what `tell` makes of the reading, now and whenever that is another. */
  function open<Value>(target: ScalingTarget, fail: Fail, { leave, tell, send }: Told<Value>): ScalerSession {
    let sent: Value | undefined;
    let isOpen = true;
    let isCongested = false;
    let unfollow = () => {};
    const close = () => {
      if (!isOpen) return;
      isOpen = false;
      leave();
      unfollow();
    };
    const look = (reading: ReturnType<ScalingBoard['read']>) => {
      if (!isOpen || isCongested || reading === 'unknown') return; // E3
      const value = reading === 'not-found' ? notFound(target) : tell(reading);
      if (value instanceof FlowError) {
        close();
        fail(value);
      } else if (value !== sent) {
        sent = value;
        isCongested = !send(value);
      }
    };
    unfollow = board.follow(target, look);
    look(board.read(target));
    return {
      // What came in between does not matter any more.
      resume() {
        isCongested = false;
        look(board.read(target));
      },
      close,
    };
  }

  return {
    async isActive({ tenant }, ref) {
      return { result: known(scalerTarget(tenant, ref).target).advice.active };
    },
    async getMetricSpec({ tenant }, ref) {
      const { target, metric } = scalerTarget(tenant, ref);
      const size = sizeOf(target, metric, known(target));
      if (size instanceof FlowError) throw size;
      return specOf(metric, size);
    },
    async getMetrics({ tenant }, { scaledObjectRef, metricName }) {
      const { target, metric } = scalerTarget(tenant, scaledObjectRef);
      if (metricName !== metric) {
        const message = `the trigger is for the metric ${metric}, not for ${JSON.stringify(metricName)}`;
        throw new FlowError('INVALID_ARGUMENT', message);
      }
      const reading = known(target);
      return { metricValues: [metricOf(metric, metric === 'lag' ? lagOf(reading) : reading.advice.wanted)] };
    },
    async openIsActive({ tenant }, ref, send, fail, peer) {
      const { target } = scalerTarget(tenant, ref);
      return open(target, fail, {
        leave: pushes.take(peer),
        tell: ({ advice }) => advice.active,
        send: (result) => send({ result }),
      });
    },
    async openMetricSpec({ tenant }, ref, send, fail, peer) {
      const { target, metric } = scalerTarget(tenant, ref);
      return open(target, fail, {
        leave: specs.take(peer),
        tell: (reading) => sizeOf(target, metric, reading),
        send: (size) => send(specOf(metric, size)),
      });
    },
  };
}

interface Told<Value> {
  /** Somebody else may have the place. */
  readonly leave: () => void;
  readonly tell: (reading: Reading) => Value | FlowError;
  readonly send: (value: Value) => boolean;
}

/** So many for each connection (E4). */
class Seats {
  readonly #most: number;
  readonly #refusal: (count: number) => FlowError;
  readonly #taken = new Map<string, number>();

  constructor(most: number, refusal: (count: number) => FlowError) {
    this.#most = most;
    this.#refusal = refusal;
  }

  /** Answers how to give it back, once. */
  take(peer: string): () => void {
    const taken = this.#taken.get(peer) ?? 0;
    if (taken >= this.#most) throw this.#refusal(taken);
    this.#taken.set(peer, taken + 1);
    return () => {
      const left = (this.#taken.get(peer) ?? 0) - 1;
      if (left > 0) this.#taken.set(peer, left);
      else this.#taken.delete(peer);
    };
  }
}

const full = (count: number) => `${count} streams of this connection are open, and that is the most`;

/** What one worker stands for. */
function sizeOf(target: ScalingTarget, metric: ScalerMetric, { lagTarget }: Reading): number | FlowError {
  if (metric === 'demand') return 1;
  if (lagTarget > 0) return Math.max(lagTarget, TARGET_MIN);
  const condition = 'queue' in target ? 'queue_lag > 1_000' : 'stream_lag > 1_000';
  return new FlowError(
    'INVALID_ARGUMENT',
    `scaling of ${nameOf(target)} has no condition on lag: remove this trigger, or add "${condition}"`,
  );
}

/** E5, in the thousandths that KEDA keeps: the share of one worker may not come out above 1. */
function lagOf({ signals: { lag, partitions }, advice, lagTarget }: Reading): number {
  if (lagTarget === 0) return lag;
  const share = Math.floor(Math.max(lagTarget, TARGET_MIN) / TARGET_MIN) * TARGET_MIN;
  return Math.min(lag, share * lagWorkersMax(partitions, advice));
}

const specOf = (metricName: ScalerMetric, size: number): pb.GetMetricSpecResponseInput => ({
  metricSpecs: [{ metricName, targetSize: Math.max(1, Math.round(size)), targetSizeFloat: size }],
});

const metricOf = (metricName: ScalerMetric, value: number): pb.MetricValueInput => ({
  metricName,
  metricValue: Math.round(value),
  metricValueFloat: value,
});

const nameOf = (target: ScalingTarget): string =>
  'queue' in target ? `queue ${target.queue}` : `group ${target.group} of stream ${target.stream}`;

const unknown = (target: ScalingTarget): FlowError =>
  new FlowError(
    'SCALING_UNKNOWN',
    `it is not known yet how many workers ${nameOf(target)} needs: the server starts, ends, or has a shard ` +
      'that does not serve; keep as many as there are',
    { retryAfterMs: 1000 },
  );

const notFound = (target: ScalingTarget): FlowError =>
  new FlowError(
    'SCALING_NOT_DECLARED',
    `there is no ${nameOf(target)} that asks for scaling; declare it with scaling, or remove the trigger`,
  );
