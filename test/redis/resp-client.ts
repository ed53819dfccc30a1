// A Redis client small enough to see through: one command, one reply, as plain values. Replies are read
// with the same eyes from FlowMesh and from Redis.
import { connect, type Socket } from 'node:net';

export type Value = string | number | null | readonly Value[] | { readonly error: string };

export class RespClient {
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);
  readonly #waiting: ((value: Value | Error) => void)[] = [];

  static open(port: number): Promise<RespClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RespClient(socket)));
    });
  }

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('close', () => {
      for (const done of this.#waiting.splice(0)) done(new Error('the connection was closed'));
    });
  }

  send(...args: (string | number)[]): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#waiting.push((value) => (value instanceof Error ? reject(value) : resolve(value)));
      this.#socket.write(encode(args));
    });
  }

  /** All of them at once, replies in order. */
  pipeline(commands: readonly (readonly (string | number)[])[]): Promise<Value[]> {
    return Promise.all(commands.map((args) => this.send(...args)));
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const parsed = parse(this.#rest, 0);
      if (parsed === null) return;
      this.#rest = this.#rest.subarray(parsed.end);
      this.#waiting.shift()?.(parsed.value);
    }
  }
}

export function encode(args: readonly (string | number)[]): Buffer {
  const parts = args.map((arg) => {
    const bytes = Buffer.from(String(arg), 'latin1');
    return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]);
  });
  return Buffer.concat([Buffer.from(`*${args.length}\r\n`), ...parts]);
}

function parse(bytes: Buffer, at: number): { value: Value; end: number } | null {
  const lineEnd = bytes.indexOf('\r\n', at);
  if (lineEnd === -1) return null;
  const type = String.fromCharCode(bytes[at] ?? 0);
  const line = bytes.toString('latin1', at + 1, lineEnd);
  let end = lineEnd + 2;
  if (type === '+' || type === ',') return { value: line, end };
  if (type === '-') return { value: { error: line }, end };
  if (type === ':') return { value: Number(line), end };
  if (type === '_') return { value: null, end };
  const length = Number(line);
  if (length === -1) return { value: null, end };
  if (type === '$') {
    if (bytes.length < end + length + 2) return null;
    return { value: bytes.toString('latin1', end, end + length), end: end + length + 2 };
  }
  const items: Value[] = [];
  for (let i = 0; i < length * (type === '%' ? 2 : 1); i++) {
    const item = parse(bytes, end);
    if (item === null) return null;
    items.push(item.value);
    end = item.end;
  }
  return { value: items, end };
}
