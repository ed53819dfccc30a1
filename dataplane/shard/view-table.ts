// The views of a shard by name and by event type, and the codecs that go with them: events of the journal,
// and the replies that are kept for repeats.
import assert from 'node:assert/strict';
import { FlowError } from '@flowmesh/protocol';
import { ByteReader, type ByteWriter } from '../storage/bytes.ts';
import type { Pending } from './inbox.ts';
import type { Command, Event, Moment, View } from './state-machine.ts';

export class ViewTable {
  readonly all: readonly View[];
  readonly #byName = new Map<string, View>();
  readonly #byEvent: (View | undefined)[] = new Array(256);

  constructor(views: readonly View[]) {
    this.all = views;
    for (const view of views) {
      this.#byName.set(view.name, view);
      for (let type = view.events[0]; type <= view.events[1]; type++) this.#byEvent[type] = view;
    }
  }

  of(command: Command): View {
    const view = this.#byName.get(command.view);
    assert(view !== undefined, `there is a view ${command.view}`);
    return view;
  }

  ofEvent(event: Event): View {
    const view = this.#byEvent[event.type];
    assert(view !== undefined, `event type ${event.type} belongs to a view`);
    return view;
  }

  decodeEvent(reader: ByteReader): { view: View; event: Event } {
    const type = reader.u8();
    const view = this.#byEvent[type];
    if (view === undefined) {
      const what = `the journal holds events of type ${type}, which this version does not know`;
      throw new FlowError('DATA_TOO_NEW', `${what}; run a newer one`);
    }
    return { view, event: view.decode(type, reader) };
  }

  /** Applies all events of an entry's payload. */
  evolve(payload: Buffer, at: Moment): void {
    const reader = new ByteReader(payload);
    while (!reader.done) {
      const { view, event } = this.decodeEvent(reader);
      view.evolve(event, at);
    }
  }

  /** When the first view has something to do of its own accord; Infinity: never. */
  wakeAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY;
    for (const view of this.all) atMs = Math.min(atMs, view.wakeAtMs?.() ?? Number.POSITIVE_INFINITY);
    return atMs;
  }

  /** `into` is empty; the result is a view on it. */
  encodeReplies({ commands, isTransaction }: Pending, reply: unknown, into: ByteWriter): Uint8Array {
    const replies = isTransaction ? (reply as unknown[]) : [reply];
    commands.forEach((command, i) => {
      into.text(nameOf(command));
      into.bytes(this.of(command).encodeReply(replies[i]));
    });
    return into.view();
  }

  decodeReplies({ commands, isTransaction }: Pending, stored: Buffer): unknown {
    const reader = new ByteReader(stored);
    const replies = commands.map((command) => {
      if (reader.done || reader.text() !== nameOf(command)) throw reusedSequence();
      return this.of(command).decodeReply(reader.bytes(), command);
    });
    if (!reader.done) throw reusedSequence();
    return isTransaction ? replies : replies[0];
  }
}

/** What a stored reply answers: a repeat must ask the same. */
const nameOf = ({ view, kind = '' }: Command): string => `${view} ${kind}`;

const reusedSequence = () =>
  new FlowError('INVALID_ARGUMENT', 'this producerId and seq were used for another kind of request');
