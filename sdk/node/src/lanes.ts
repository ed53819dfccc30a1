// Connections for streams that stay open: workers, consumers, watches. A server lets each connection have a
// bounded number of streams (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113, 5.1.2; often 100), and what is beyond
// waits without a word.
//   L1. A connection carries at most HELD_MAX of them, so that calls beside them find room.
//   L2. The first lane is the connection of the calls; others come when they are needed and go when empty.
import { AdminClient, KvClient, QueuesClient, StreamsClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import type { Channel } from './renewed-channel.ts';

/** Half of what servers commonly allow. */
const HELD_MAX = 50;

export interface Stubs {
  readonly admin: AdminClient;
  readonly kv: KvClient;
  readonly queues: QueuesClient;
  readonly streams: StreamsClient;
}

interface Lane extends Stubs {
  readonly channel: Channel;
  held: number;
}

export class Lanes {
  readonly #connect: (options: grpc.ChannelOptions) => Channel;
  readonly #lanes: Lane[] = [];

  constructor(first: Channel, connect: (options: grpc.ChannelOptions) => Channel) {
    this.#connect = connect;
    this.#lanes.push(laneOn(first));
  }

  /** Opens a stream that stays, on a connection with room for it. */
  hold<S extends NodeJS.EventEmitter>(open: (stubs: Stubs) => S): S {
    const lane = this.#lanes.find(({ held }) => held < HELD_MAX) ?? this.#add();
    lane.held++;
    const stream = open(lane);
    // It follows every end.
    stream.once('status', () => {
      lane.held--;
      const at = this.#lanes.indexOf(lane);
      if (lane.held > 0 || at <= 0) return;
      this.#lanes.splice(at, 1);
      lane.channel.close();
    });
    return stream;
  }

  close(): void {
    for (const { channel } of this.#lanes) channel.close();
  }

  #add(): Lane {
    // Channels with equal options share a connection otherwise.
    const lane = laneOn(this.#connect({ 'grpc.use_local_subchannel_pool': 1 }));
    this.#lanes.push(lane);
    return lane;
  }
}

function laneOn(channel: Channel): Lane {
  const credentials = grpc.credentials.createInsecure();
  const stub = { channelOverride: channel };
  // With a channel given, a stub looks at neither address nor credentials.
  return {
    channel,
    admin: new AdminClient('', credentials, stub),
    kv: new KvClient('', credentials, stub),
    queues: new QueuesClient('', credentials, stub),
    streams: new StreamsClient('', credentials, stub),
    held: 0,
  };
}
