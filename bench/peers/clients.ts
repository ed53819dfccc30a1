// Producers and consumers of jobs: the best client of each system (that of NATS is in nats-load),
// used as its documentation advises. An enqueue resolves when the system has answered that it has the job.
import { connect as openSocket, type Socket } from 'node:net';
import { connect } from '@flowmesh/client';
import { nodeClients } from './cache.ts';
import type { Client } from './systems.ts';

export interface JobClient {
  producer(port: number): Promise<(payload: string) => Promise<unknown>>;
  consumer(port: number, handle: (payload: string) => void): Promise<void>;
}

const QUEUE = 'bench';
// Their packages bring no types here.
// biome-ignore lint/suspicious/noExplicitAny: clients of others, loaded from outside of the project
type Any = any;

const flowmesh: JobClient = {
  async producer(port) {
    const fm = await connect({ address: `127.0.0.1:${port}` });
    return (payload) => fm.queue.enqueue(QUEUE, payload);
  },
  async consumer(port, handle) {
    const fm = await connect({ address: `127.0.0.1:${port}` });
    fm.queue.worker(QUEUE, (job) => handle(job.payload as string), {
      concurrency: 2000,
      trackEffects: false,
    });
  },
};

const bullmq: JobClient = {
  async producer(port) {
    const { Queue } = nodeClients()('bullmq') as Any;
    const queue = new Queue(QUEUE, { connection: { host: '127.0.0.1', port } });
    await queue.waitUntilReady();
    const options = { removeOnComplete: true, removeOnFail: true };
    return (payload) => queue.add('job', payload, options);
  },
  async consumer(port, handle) {
    const { Worker } = nodeClients()('bullmq') as Any;
    const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
    const worker = new Worker(QUEUE, async (job: Any) => handle(job.data), { connection, concurrency: 100 });
    await worker.waitUntilReady();
  },
};

const rabbitmq: JobClient = {
  async producer(port) {
    const amqp = nodeClients()('amqplib') as Any;
    const connection = await amqp.connect(`amqp://127.0.0.1:${port}`, { noDelay: true });
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    return (payload) =>
      new Promise<void>((resolve, reject) => {
        channel.sendToQueue(QUEUE, Buffer.from(payload), { persistent: true }, (error: Error | null) =>
          error ? reject(error) : resolve(),
        );
      });
  },
  async consumer(port, handle) {
    const amqp = nodeClients()('amqplib') as Any;
    const connection = await amqp.connect(`amqp://127.0.0.1:${port}`, { noDelay: true });
    const channel = await connection.createChannel();
    await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    await channel.prefetch(1000);
    await channel.consume(QUEUE, (message: Any) => {
      handle(message.content.toString());
      channel.ack(message);
    });
  },
};

/** Replies in order of requests, one line each; a reserved job has a second line. */
class BeanstalkConnection {
  readonly #socket: Socket;
  readonly #waiting: ((line: string, body: string) => void)[] = [];
  #text = '';

  constructor(port: number) {
    this.#socket = openSocket(port, '127.0.0.1').setNoDelay(true).setEncoding('latin1');
    this.#socket.on('data', (text: string) => this.#take(text));
  }

  ask(request: string): Promise<{ line: string; body: string }> {
    this.#socket.write(request, 'latin1');
    return new Promise((resolve) => this.#waiting.push((line, body) => resolve({ line, body })));
  }

  #take(text: string): void {
    this.#text += text;
    for (;;) {
      const end = this.#text.indexOf('\r\n');
      if (end === -1) return;
      const line = this.#text.slice(0, end);
      const size = line.startsWith('RESERVED') ? Number(line.split(' ')[2]) : -1;
      const next = end + 2 + (size < 0 ? 0 : size + 2);
      if (this.#text.length < next) return;
      const body = size < 0 ? '' : this.#text.slice(end + 2, end + 2 + size);
      this.#text = this.#text.slice(next);
      this.#waiting.shift()?.(line, body);
    }
  }
}

const CONNECTIONS = 64;

const beanstalkd: JobClient = {
  async producer(port) {
    const connections = Array.from({ length: CONNECTIONS }, () => new BeanstalkConnection(port));
    let turn = 0;
    return (payload) => {
      const connection = connections[turn++ % CONNECTIONS] as BeanstalkConnection;
      return connection.ask(`put 1024 0 60 ${payload.length}\r\n${payload}\r\n`);
    };
  },
  async consumer(port, handle) {
    const serve = async (connection: BeanstalkConnection) => {
      for (let reserved = connection.ask('reserve\r\n'); ; ) {
        const { line, body } = await reserved;
        handle(body);
        const deleted = connection.ask(`delete ${line.split(' ')[1]}\r\n`);
        reserved = connection.ask('reserve\r\n');
        await deleted;
      }
    };
    for (let i = 0; i < CONNECTIONS; i++) void serve(new BeanstalkConnection(port));
  },
};

export const clients: Record<Exclude<Client, 'nats'>, JobClient> = { flowmesh, bullmq, rabbitmq, beanstalkd };
