// A stream behind which the server keeps a session: Work and Consume. Says hello, reconnects, passes messages
// on.
//   S1. It reconnects until it is closed; whoever owns it decides whether an error is the end.
import type { FlowError } from '@flowmesh/protocol';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { backoffMs } from './backoff.ts';
import { fromStatus } from './errors.ts';
import { withoutOrigin } from './origin.ts';

/** How long the server may take to answer what was sent before the end. */
const END_MS = 2000;

export interface SessionOptions<Request, Response> {
  open(): ClientDuplexStream<Request, Response>;
  hello(): Request;
  receive(message: Response): void;
  /** The stream ended; the next try follows by itself, unless this closes the session. */
  broken(error: FlowError): void;
}

export class SessionStream<Request, Response> {
  readonly #options: SessionOptions<Request, Response>;
  #stream: ClientDuplexStream<Request, Response> | undefined;
  #isOpen = false;
  #attempt = 0;
  #reconnect: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: SessionOptions<Request, Response>) {
    this.#options = options;
  }

  /** The server has welcomed the session: messages can be sent. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Hello is on its way: the server may be granting something already. */
  get isConnecting(): boolean {
    return this.#stream !== undefined && !this.#isOpen;
  }

  connect(): void {
    if (this.#isClosed) return;
    const stream = withoutOrigin(() => this.#options.open());
    this.#stream = stream;
    stream.on('data', (message: Response) => {
      if (stream === this.#stream) this.#options.receive(message);
    });
    // 'status' follows every end, with or without an error.
    stream.on('error', () => {});
    stream.on('status', (status) => {
      if (stream === this.#stream) this.#onBroken(fromStatus(status));
    });
    stream.write(this.#options.hello());
  }

  welcomed(): void {
    this.#isOpen = true;
    this.#attempt = 0;
  }

  send(message: Request): void {
    if (this.#isOpen) this.#stream?.write(message);
  }

  /** Resolves when the server has taken what was sent and ended the stream, at the latest after END_MS. */
  close(): Promise<void> {
    this.#isClosed = true;
    this.#isOpen = false;
    clearTimeout(this.#reconnect);
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => stream.cancel(), END_MS);
      stream.once('status', () => {
        clearTimeout(timer);
        resolve();
      });
      stream.end();
    });
  }

  #onBroken(error: FlowError): void {
    this.#stream = undefined;
    this.#isOpen = false;
    if (this.#isClosed) return;
    this.#reconnect = setTimeout(() => this.connect(), backoffMs(this.#attempt++));
    this.#options.broken(error);
  }
}
