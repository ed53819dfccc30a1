// A channel that begins anew where it does not get through.
//   R1. grpc-js gives an attempt to connect no limit. An address that has just gone, or a server that takes
//       connections and says nothing, would hold up all calls for minutes or for ever: after `stuckMs` the
//       attempt is left alone, the name is resolved again, and another one begins.
//   R2. Calls that waited for it end with UNAVAILABLE, which is repeated by whoever called. A connection that
//       stands is never touched.
import grpc from '@grpc/grpc-js';

export type Channel = Pick<grpc.Channel, keyof grpc.Channel>;

/** Longer than any handshake takes, and short beside the deadlines of calls. */
const STUCK_MS = 5000;

const { CONNECTING, TRANSIENT_FAILURE, SHUTDOWN } = grpc.connectivityState;

export class RenewedChannel implements Channel {
  readonly #open: (options: grpc.ChannelOptions) => grpc.Channel;
  readonly #stuckMs: number;
  #channel: grpc.Channel;
  #timer: NodeJS.Timeout | undefined;

  /** `open` makes a channel with the given options besides its own. */
  constructor(open: (options: grpc.ChannelOptions) => grpc.Channel, stuckMs = STUCK_MS) {
    this.#open = open;
    this.#stuckMs = stuckMs;
    this.#channel = open({});
    this.#follow(this.#channel);
  }

  createCall(...call: Parameters<grpc.Channel['createCall']>): ReturnType<grpc.Channel['createCall']> {
    return this.#channel.createCall(...call);
  }

  getConnectivityState(tryToConnect: boolean): grpc.connectivityState {
    return this.#channel.getConnectivityState(tryToConnect);
  }

  watchConnectivityState(...watch: Parameters<grpc.Channel['watchConnectivityState']>): void {
    this.#channel.watchConnectivityState(...watch);
  }

  getTarget(): string {
    return this.#channel.getTarget();
  }

  getChannelzRef(): ReturnType<grpc.Channel['getChannelzRef']> {
    return this.#channel.getChannelzRef();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#channel.close();
  }

  #follow(channel: grpc.Channel): void {
    const state = channel.getConnectivityState(false);
    if (state === SHUTDOWN) return;
    if (state !== CONNECTING && state !== TRANSIENT_FAILURE) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    } else this.#timer ??= setTimeout(() => this.#renew(), this.#stuckMs).unref();
    channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, () => this.#follow(channel));
  }

  #renew(): void {
    const stuck = this.#channel;
    this.#timer = undefined;
    // Channels of equal options share attempts to connect, also the one that is stuck.
    this.#channel = this.#open({ 'grpc.use_local_subchannel_pool': 1 });
    this.#follow(this.#channel);
    this.#channel.getConnectivityState(true);
    stuck.close();
  }
}
