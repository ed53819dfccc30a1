// What all gRPC calls share: who asks, until when, what is open, and how it ends.
//   G1. A call ends once; after that nothing is written and the handler has been told.
//   G2. Nothing that a handler throws may escape: grpc-js runs message handlers inside promises of its own,
//       so an exception there would end the process.

import type { FlowError } from '@flowmesh/protocol';
import type grpc from '@grpc/grpc-js';
import type { Runtime } from '../../runtime.ts';
import type { ExternalScaler } from '../../scaling/external-scaler.ts';
import type { Fabric } from '../../services.ts';
import type { Caller } from '../../shard/state-machine.ts';
import type { Log } from '../../telemetry/log.ts';
import type { CallMeter, Metrics } from '../../telemetry/metrics.ts';
import { type Access, callerOf, type Identity } from '../access.ts';
import { checkServing, closing, type Refuse } from '../refusals.ts';
import { statusOf } from './status.ts';

export interface GrpcContext {
  readonly fabric: Fabric;
  readonly scaler: ExternalScaler;
  readonly access: Access;
  readonly runtime: Runtime;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly refuse: Refuse;
  /** What must be ended when the listener closes: streams and long polls. */
  readonly drains: Set<() => void>;
  isClosing(): boolean;
}

type AnyCall = Pick<grpc.ServerUnaryCall<unknown, unknown>, 'metadata' | 'getDeadline' | 'getAuthContext'>;

export interface Admitted {
  readonly identity: Identity;
  readonly caller: Caller;
}

/** Throws UNAUTHENTICATED, PERMISSION_DENIED or UNAVAILABLE. */
export function admit(context: GrpcContext, path: string, call: AnyCall): Admitted {
  const { access, fabric } = context;
  const identity = access.identify({
    authorization: text(call.metadata.get('authorization')[0]),
    certificate: certificateName(call),
  });
  access.authorize(identity, path);
  if (context.isClosing()) throw closing();
  checkServing(fabric.state());
  const deadline = Number(call.getDeadline());
  const caller = callerOf(identity, {
    deadlineMs: Number.isFinite(deadline) ? deadline : 0,
    traceparent: text(call.metadata.get('traceparent')[0]),
  });
  return { identity, caller };
}

const text = (value: grpc.MetadataValue | undefined) => (typeof value === 'string' ? value : undefined);

function certificateName(call: AnyCall): string | undefined {
  const name = call.getAuthContext().sslPeerCertificate?.subject?.CN;
  return Array.isArray(name) ? name[0] : name;
}

type Stream<Response> =
  | grpc.ServerDuplexStream<unknown, Response>
  | grpc.ServerWritableStream<unknown, Response>;

/** The writing side of a stream. */
export class StreamCall<Response> {
  /** Called once, when nothing can be written any more. */
  onGone: () => void = () => {};
  /** The peer reads again after `write` returned false. */
  onDrain: () => void = () => {};
  /** The listener closes: finish soon. */
  onClosing: () => void = () => this.fail(closing());
  readonly #call: Stream<Response>;
  readonly #context: GrpcContext;
  readonly #path: string;
  readonly #meter: CallMeter;
  readonly #startedMs: number;
  #ended = false;
  #gone = false;
  #corked = false;
  #code = 'OK';

  constructor(context: GrpcContext, path: string, call: Stream<Response>) {
    this.#call = call;
    this.#context = context;
    this.#path = path;
    this.#meter = context.metrics.meter('grpc', path);
    this.#startedMs = context.runtime.monotonicMs();
    this.#meter.open++;
    const drain = () => this.guard(() => this.onClosing());
    context.drains.add(drain);
    coalesceWrites(call);
    call.on('drain', () => this.guard(() => this.onDrain()));
    // Emitted by grpc-js whenever a call is over, however it ended.
    call.on('cancelled', () => {
      context.drains.delete(drain);
      this.#leave('CANCELLED');
    });
  }

  get isOpen(): boolean {
    return !this.#ended;
  }

  /** False: the connection is congested or gone; `onDrain` tells when to go on. */
  write(message: Response): boolean {
    if (this.#ended) return false;
    this.#meter.sent++;
    if (!this.#corked) {
      this.#corked = true;
      this.#call.cork();
      // What becomes ready in one turn leaves in one piece.
      process.nextTick(() => {
        this.#corked = false;
        this.#call.uncork();
      });
    }
    return this.#call.write(message);
  }

  received(): void {
    this.#meter.received++;
  }

  finish(): void {
    if (this.#ended) return;
    this.#leave('OK');
    this.#call.end();
  }

  fail(error: unknown): void {
    if (this.#ended) return;
    const refusal: FlowError = this.#context.refuse(error, this.#path);
    this.#leave(refusal.code);
    // What was written before leaves first; grpc-js then sends the status.
    this.#call.emit('error', statusOf(refusal));
  }

  /** Runs code of a handler; what it throws ends the call (G2). */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error);
    }
  }

  #leave(code: string): void {
    if (!this.#ended) this.#code = code;
    this.#ended = true;
    if (this.#gone) return;
    this.#gone = true;
    this.#meter.open--;
    this.#meter.ended(this.#code, this.#context.runtime.monotonicMs() - this.#startedMs);
    try {
      this.onGone();
    } catch (error) {
      this.#context.refuse(error, this.#path);
    }
  }
}

/** Hands all waiting messages to the HTTP/2 stream at once; grpc-js waits for each write before the next. */
function coalesceWrites(call: Stream<never> | Stream<unknown>): void {
  const stream = call as grpc.ServerDuplexStream<unknown, unknown>;
  const written = () => {};
  stream._writev = (chunks, callback) => {
    const last = chunks.length - 1;
    chunks.forEach(({ chunk, encoding }, index) => {
      stream._write(chunk, encoding, index === last ? callback : written);
    });
  };
}
