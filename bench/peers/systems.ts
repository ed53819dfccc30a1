// The systems that are compared, each set up as its documentation advises for the durability that is stated.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { debian, goProgram, kafkaClasses } from './cache.ts';
import { freePort, greeted, type Running, startHelper, startPeer, stopHelper } from './process.ts';

export type Durability = 'synced' | 'within 1 s' | 'not synced';
export type Client = 'flowmesh' | 'bullmq' | 'rabbitmq' | 'beanstalkd' | 'nats';

export interface System {
  readonly name: string;
  readonly durability: Durability;
  readonly client?: Client;
  version(): string;
  start(dir: string): Promise<Running>;
}

const output = (command: string, ...args: string[]): string => {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return `${stdout}${stderr}`;
};
const versionIn = (text: string): string => /\d+\.\d+(?:\.\d+)?/.exec(text)?.[0] ?? '?';

const CLI = join(import.meta.dirname, '../../cli/bin.js');
const READY = 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

/** As `flowmesh dev` starts it. `port` is that of gRPC, `redisPort` that of the Redis listener. */
export const flowmesh: System & { start(dir: string): Promise<Running & { redisPort: number }> } = {
  name: 'FlowMesh',
  durability: 'synced',
  client: 'flowmesh',
  version: () => '0.1.0',
  async start(dir) {
    const [port, httpPort, redisPort] = [await freePort(), await freePort(), await freePort()];
    const ports = ['--grpc-port', `${port}`, '--http-port', `${httpPort}`, '--redis-port', `${redisPort}`];
    const node = [process.execPath, '--conditions=flowmesh-source'] as const;
    const running = await startPeer([...node, CLI, 'dev', '--data', join(dir, 'data'), ...ports], {
      port,
      isReady: () => greeted(httpPort, READY, / 200 /),
    });
    return { ...running, redisPort };
  },
};

function redis(appendfsync: 'always' | 'everysec', name = 'Redis', client?: Client): System {
  return {
    name,
    durability: appendfsync === 'always' ? 'synced' : 'within 1 s',
    ...(client && { client }),
    version: () => versionIn(output(debian('redis-server', 'redis-server'), '--version')),
    async start(dir) {
      const port = await freePort();
      const settings = ['--save', '', '--appendonly', 'yes', '--appendfsync', appendfsync];
      const memory = ['--maxmemory-policy', 'noeviction'];
      const where = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir];
      return startPeer([debian('redis-server', 'redis-server'), ...where, ...settings, ...memory], {
        port,
        isReady: () => greeted(port, 'PING\r\n', /PONG/),
      });
    },
  };
}

const rabbitmq: System = {
  name: 'RabbitMQ, quorum queue',
  durability: 'synced',
  client: 'rabbitmq',
  version: () => versionIn(output('dpkg-query', '-W', '-f', '${Version}', 'rabbitmq-server')),
  async start(dir) {
    debian('rabbitmq-server', 'rabbitmq-server');
    const [port, distribution, epmd] = [await freePort(), await freePort(), await freePort()];
    const config = join(dir, 'rabbitmq.conf');
    writeFileSync(config, `listeners.tcp.1 = 127.0.0.1:${port}\n`);
    const enabled = join(dir, 'plugins');
    writeFileSync(enabled, '[].\n');
    // A port mapper of its own, for the one that RabbitMQ would start outlives it.
    const mapper = startHelper('epmd', ['-port', `${epmd}`, '-address', '127.0.0.1']);
    const running = await startPeer(['/usr/lib/rabbitmq/bin/rabbitmq-server'], {
      port,
      isReady: () => greeted(port, Buffer.from('AMQP\0\0\x09\x01', 'latin1'), /Erlang|RabbitMQ/),
      env: {
        HOME: dir,
        RABBITMQ_NODENAME: `bench${port}@localhost`,
        RABBITMQ_CONFIG_FILE: config,
        RABBITMQ_ENABLED_PLUGINS_FILE: enabled,
        RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'),
        RABBITMQ_LOG_BASE: join(dir, 'log'),
        RABBITMQ_PID_FILE: join(dir, 'pid'),
        RABBITMQ_DIST_PORT: `${distribution}`,
        ERL_EPMD_PORT: `${epmd}`,
        ERL_EPMD_ADDRESS: '127.0.0.1',
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
      },
    });
    const stop = async () => {
      await running.stop();
      stopHelper(mapper);
    };
    return { ...running, stop };
  },
};

const beanstalkd: System = {
  name: 'beanstalkd -f0',
  durability: 'synced',
  client: 'beanstalkd',
  version: () => versionIn(output(debian('beanstalkd', 'beanstalkd'), '-v')),
  async start(dir) {
    const port = await freePort();
    return startPeer(
      [debian('beanstalkd', 'beanstalkd'), '-l', '127.0.0.1', '-p', `${port}`, '-b', dir, '-f0'],
      {
        port,
        isReady: () => greeted(port, 'stats\r\n', /^OK/),
      },
    );
  },
};

function nats(sync: boolean): System {
  const program = () => goProgram('nats-server', 'github.com/nats-io/nats-server/v2@v2.15.2');
  return {
    name: sync ? 'NATS JetStream, sync always' : 'NATS JetStream',
    durability: sync ? 'synced' : 'not synced',
    client: 'nats',
    version: () => versionIn(output(program(), '--version')),
    async start(dir) {
      const port = await freePort();
      const config = join(dir, 'nats.conf');
      const interval = sync ? ', sync_interval: always' : '';
      writeFileSync(config, `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${dir}"${interval} }\n`);
      return startPeer([program(), '-c', config], {
        port,
        isReady: () => greeted(port, '', /"jetstream":true/),
      });
    },
  };
}

export const kafka = (sync: boolean): System => ({
  name: sync ? 'Kafka, flush each batch' : 'Kafka',
  durability: sync ? 'synced' : 'not synced',
  version: () => '4.3.1',
  async start(dir) {
    const classes = kafkaClasses();
    const [port, controller] = [await freePort(), await freePort()];
    const config = join(dir, 'server.properties');
    mkdirSync(join(dir, 'log'));
    writeFileSync(
      config,
      [
        'process.roles=broker,controller',
        'node.id=1',
        `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
        `advertised.listeners=PLAINTEXT://127.0.0.1:${port}`,
        'controller.listener.names=CONTROLLER',
        `controller.quorum.voters=1@127.0.0.1:${controller}`,
        `log.dirs=${join(dir, 'log')}`,
        'offsets.topic.replication.factor=1',
        'group.initial.rebalance.delay.ms=0',
        ...(sync ? ['log.flush.interval.messages=1'] : []),
      ].join('\n'),
    );
    const java = (...args: string[]): [string, ...string[]] => [
      'java',
      '-Xms1G',
      '-Xmx1G',
      '-cp',
      classes,
      ...args,
    ];
    const format = java('kafka.tools.StorageTool', 'format', '-t', 'MkU3OEVBNTcwNTJENDM2Qg', '-c', config);
    spawnSync(format[0], format.slice(1), { stdio: 'ignore' });
    return startPeer(java('kafka.Kafka', config), { port, isReady: () => canOpen(port), cwd: dir });
  },
});

/** Kafka says nothing first: its answer to ApiVersions begins with a length. */
const canOpen = (port: number): Promise<boolean> =>
  greeted(port, Buffer.from('0000000a00120000000000010000', 'hex'), /^\0\0/);

export const redisAlways = redis('always', 'Redis, appendfsync always');
export const redisEverysec = redis('everysec', 'Redis, appendfsync everysec');
export const bullmqAlways = redis('always', 'BullMQ on Redis, appendfsync always', 'bullmq');
export const bullmqEverysec = redis('everysec', 'BullMQ on Redis, appendfsync everysec', 'bullmq');
export const kafkaSynced = kafka(true);
export const kafkaDefault = kafka(false);
export const natsSynced = nats(true);
export const natsDefault = nats(false);
export { beanstalkd, rabbitmq };
