// Streams of requests with one reply each: EnqueueStream, PublishStream, Kv.Pipeline.
//   W1. Replies leave in the order of the requests.
//   W2. At most WINDOW is unanswered; beyond it reading stops, and so TCP makes the client wait.
//   W3. After the client has finished, or when the listener closes, what was taken is answered before the
//       end.
//   W4. A refused request is answered in its reply; bytes that are no message end the stream.

import type { FlowError } from '@flowmesh/protocol';
import type grpc from '@grpc/grpc-js';
import { closing } from '../refusals.ts';
import { type Admitted, admit, type GrpcContext, StreamCall } from './call.ts';
import type { Received } from './codec.ts';

export const WINDOW = { messages: 64, bytes: 8 * 1024 * 1024 } as const;

export interface ReplyProtocol<Request, Reply> {
  /** Sent before anything else. */
  readonly first?: Reply;
  /** `done` once; throws only FlowError. */
  accept(admitted: Admitted, request: Request, done: (reply: Reply) => void): void;
  refused(request: Request, error: FlowError): Reply;
}

interface Slot<Reply> {
  readonly bytes: number;
  reply: Reply | undefined;
}

type Duplex<Request, Reply> = grpc.ServerDuplexStream<Received<Request>, Reply>;

export function replyHandler<Request, Reply>(
  context: GrpcContext,
  path: string,
  protocol: ReplyProtocol<Request, Reply>,
): (call: Duplex<Request, Reply>) => void {
  return (call) => {
    const stream = new StreamCall<Reply>(context, path, call);
    stream.guard(() => {
      const admitted = admit(context, path, call);
      new ReplyStream(context, path, { call, stream, admitted, protocol }).start();
    });
  };
}

interface Parts<Request, Reply> {
  readonly call: Duplex<Request, Reply>;
  readonly stream: StreamCall<Reply>;
  readonly admitted: Admitted;
  readonly protocol: ReplyProtocol<Request, Reply>;
}

class ReplyStream<Request, Reply> {
  readonly #context: GrpcContext;
  readonly #path: string;
  readonly #parts: Parts<Request, Reply>;
  /** Unanswered requests, oldest first. */
  readonly #slots: Slot<Reply>[] = [];
  #bytes = 0;
  #congested = false;
  #reading = true;
  /** The client has finished. */
  #halfClosed = false;
  #closing = false;

  constructor(context: GrpcContext, path: string, parts: Parts<Request, Reply>) {
    this.#context = context;
    this.#path = path;
    this.#parts = parts;
  }

  start(): void {
    const { call, stream, protocol } = this.#parts;
    stream.onDrain = () => {
      this.#congested = false;
      this.#regulate();
    };
    stream.onClosing = () => {
      this.#closing = true;
      this.#regulate();
      this.#endWhenAnswered();
    };
    if (protocol.first !== undefined) stream.write(protocol.first);
    call.on('data', (received) => stream.guard(() => this.#take(received)));
    call.on('end', () => {
      this.#halfClosed = true;
      this.#endWhenAnswered();
    });
  }

  #take({ message, error, bytes }: Received<Request>): void {
    const { stream, admitted, protocol } = this.#parts;
    if (!stream.isOpen) return;
    if (error) throw error;
    stream.received();
    const slot: Slot<Reply> = { bytes, reply: undefined };
    this.#slots.push(slot);
    this.#bytes += bytes;
    const done = (reply: Reply) => {
      slot.reply = reply;
      this.#flush();
    };
    try {
      this.#context.access.authorize(admitted.identity, this.#path, message);
      protocol.accept(admitted, message, done);
    } catch (cause) {
      done(protocol.refused(message, this.#context.refuse(cause, this.#path)));
    }
    this.#regulate();
  }

  #flush(): void {
    for (let slot = this.#slots[0]; slot?.reply !== undefined; slot = this.#slots[0]) {
      this.#slots.shift();
      this.#bytes -= slot.bytes;
      if (!this.#parts.stream.write(slot.reply)) this.#congested = true;
    }
    this.#regulate();
    this.#endWhenAnswered();
  }

  #regulate(): void {
    const full = this.#slots.length >= WINDOW.messages || this.#bytes >= WINDOW.bytes;
    const reading = !full && !this.#congested && !this.#closing;
    if (reading === this.#reading) return;
    this.#reading = reading;
    if (reading) this.#parts.call.resume();
    else this.#parts.call.pause();
  }

  #endWhenAnswered(): void {
    if (this.#slots.length > 0) return;
    if (this.#halfClosed) this.#parts.stream.finish();
    else if (this.#closing) this.#parts.stream.fail(closing());
  }
}
