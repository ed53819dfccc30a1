// Streams behind which a session lives: Queues.Work and Streams.Consume (a hello, then messages both ways),
// and Streams.Follow (one request, then chunks).
//   S1. Nothing is read until the session is open; at most UNANSWERED_MAX messages that ask for a reply are
//       in work.
//   S2. `send` answers false on a congested or closed stream, and `resume` follows once it has drained.
//   S3. The session is told once that its stream is gone, also when it opened after that.
//   S4. A client that has finished sending gets the replies that it still waits for before the end.

import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type grpc from '@grpc/grpc-js';
import type { Caller } from '../../shard/state-machine.ts';
import { closing } from '../refusals.ts';
import { type Admitted, admit, type GrpcContext, StreamCall } from './call.ts';
import type { Received } from './codec.ts';
import { WINDOW } from './replies.ts';

const UNANSWERED_MAX = WINDOW.messages;

interface Session<Request> {
  receive(message: Request): void;
  resume(): void;
  disconnect(): void;
}

interface SessionProtocol<Request, Response> {
  open(
    admitted: Admitted,
    first: Request,
    send: (message: Response) => boolean,
    fail: (error: FlowError) => void,
  ): Promise<Session<Request>>;
  /** The client waits for a reply to this one. */
  asks(message: Request): boolean;
  answers(message: Response): boolean;
}

function hello<T>(message: T | null): T {
  if (message === null) throw new FlowError('INVALID_ARGUMENT', 'the first message must be hello');
  return message;
}

export function workProtocol({ fabric }: GrpcContext): SessionProtocol<pb.WorkRequest, pb.WorkResponseInput> {
  return {
    open: async ({ caller }, first, send) => fabric.queues.openWork(caller, hello(first.hello), send),
    asks: ({ message }) => message === 'settle',
    answers: ({ settled }) => settled != null,
  };
}

export function consumeProtocol({
  fabric,
}: GrpcContext): SessionProtocol<pb.ConsumeRequest, pb.ConsumeResponseInput> {
  return {
    open: async ({ caller }, first, send, fail) =>
      fabric.streams.openConsume(caller, hello(first.hello), send, fail),
    asks: ({ message }) => message === 'commit',
    answers: ({ committed }) => committed != null,
  };
}

type Duplex<Request, Response> = grpc.ServerDuplexStream<Received<Request>, Response>;

export function sessionHandler<Request, Response>(
  context: GrpcContext,
  path: string,
  protocol: SessionProtocol<Request, Response>,
): (call: Duplex<Request, Response>) => void {
  return (call) => {
    const stream = new StreamCall<Response>(context, path, call);
    stream.guard(() => {
      const admitted = admit(context, path, call);
      new SessionStream({ call, stream, admitted, protocol }).start();
    });
  };
}

interface Parts<Request, Response> {
  readonly call: Duplex<Request, Response>;
  readonly stream: StreamCall<Response>;
  readonly admitted: Admitted;
  readonly protocol: SessionProtocol<Request, Response>;
}

class SessionStream<Request, Response> {
  readonly #parts: Parts<Request, Response>;
  #state: 'hello' | 'opening' | 'open' | 'gone' = 'hello';
  #session: Session<Request> | undefined;
  #unanswered = 0;
  #reading = true;
  #halfClosed = false;
  #closing = false;

  constructor(parts: Parts<Request, Response>) {
    this.#parts = parts;
  }

  start(): void {
    const { call, stream } = this.#parts;
    stream.onDrain = () => this.#session?.resume();
    stream.onGone = () => {
      this.#state = 'gone';
      this.#session?.disconnect();
    };
    stream.onClosing = () => {
      this.#closing = true;
      this.#regulate();
      this.#endWhenAnswered();
    };
    call.on('data', (received) => stream.guard(() => this.#take(received)));
    call.on('end', () => {
      this.#halfClosed = true;
      this.#endWhenAnswered();
    });
  }

  #take({ message, error }: Received<Request>): void {
    const { stream } = this.#parts;
    if (!stream.isOpen) return;
    if (error) throw error;
    stream.received();
    if (this.#state === 'hello') {
      this.#open(message);
      return;
    }
    if (this.#parts.protocol.asks(message)) this.#unanswered++;
    this.#session?.receive(message);
    this.#regulate();
  }

  #open(first: Request): void {
    const { stream, admitted, protocol } = this.#parts;
    this.#state = 'opening';
    this.#regulate();
    const send = (message: Response) => this.#send(message);
    protocol
      .open(admitted, first, send, (error) => stream.fail(error))
      .then((session) => this.#opened(session))
      .catch((error: unknown) => stream.fail(error));
  }

  #opened(session: Session<Request>): void {
    if (this.#state === 'gone') {
      session.disconnect();
      return;
    }
    this.#session = session;
    this.#state = 'open';
    this.#regulate();
    this.#endWhenAnswered();
  }

  #send(message: Response): boolean {
    const { stream, protocol } = this.#parts;
    const more = stream.write(message);
    if (protocol.answers(message)) {
      this.#unanswered--;
      this.#regulate();
      this.#endWhenAnswered();
    }
    return more;
  }

  #regulate(): void {
    const reading = this.#state !== 'opening' && this.#unanswered < UNANSWERED_MAX && !this.#closing;
    if (reading === this.#reading) return;
    this.#reading = reading;
    if (reading) this.#parts.call.resume();
    else this.#parts.call.pause();
  }

  #endWhenAnswered(): void {
    if (this.#unanswered > 0 || this.#state === 'opening') return;
    if (this.#halfClosed) this.#parts.stream.finish();
    else if (this.#closing) this.#parts.stream.fail(closing());
  }
}

interface FeedSession {
  resume(): void;
  close(): void;
}

export type Feed<Request, Response> = (
  caller: Caller,
  request: Request,
  send: (message: Response) => boolean,
  fail: (error: FlowError) => void,
  /** Address and port of the client: one connection. */
  peer: string,
) => Promise<FeedSession>;

/** One request, then messages until somebody has enough: Streams.Follow and Kv.Watch. `atClosing` ends it. */
export function feedHandler<Request, Response>(
  context: GrpcContext,
  path: string,
  open: Feed<Request, Response>,
  atClosing: (stream: StreamCall<Response>) => void = (stream) => stream.fail(closing()),
): (call: grpc.ServerWritableStream<Received<Request>, Response>) => void {
  return (call) => {
    const stream = new StreamCall<Response>(context, path, call);
    stream.onClosing = () => atClosing(stream);
    stream.guard(() => {
      const { caller } = admit(context, path, call);
      const { message, error } = call.request;
      if (error) throw error;
      open(
        caller,
        message,
        (each) => stream.write(each),
        (failure) => stream.fail(failure),
        call.getPeer(),
      )
        .then((session) => {
          if (!stream.isOpen) return session.close();
          stream.onDrain = () => session.resume();
          stream.onGone = () => session.close();
        })
        .catch((failure: unknown) => stream.fail(failure));
    });
  };
}
