// Whose effects the entries of the journal are: an event beside the events of each command that names a
// cause, and an index from causing messages to positions. Commands without a cause pay nothing.
//   F1. The event stands directly behind those of its command, in the same entry.
//   F2. The index is a list of runs, each RUN_NOTES pairs of (hash of the message, position) in a row; only
//       the newest is in memory. A lookup reads all of them, and what it finds is looked at in the journal.
//   F3. Runs go, whole, when the journal behind them is gone.
import { crc32 } from 'node:zlib';
import { FlowError, LIMITS, murmur2 } from '@flowmesh/protocol';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import type { Table } from '../storage/contract.ts';
import { after, readU53be, u32be, u53be } from '../storage/keys.ts';
import type { Pending } from './inbox.ts';
import type { Command, Emit, Event, Moment, MutationId, View, ViewContext } from './state-machine.ts';

export const CAUSED = 8;
export const RUN_NOTES = 1024;
/** Of one checkpoint. */
const DROPPED_MAX = 1000;
const SCAN_ROWS = 16;
/** Of one command: beyond it all effects have the command's ordinal. */
const STEPS_MAX = 16_384;

export interface Caused extends Event {
  readonly tenant: number;
  /** How many events in front of this one the command has. */
  readonly events: number;
  /** Of the messages (`messageOf`) that caused them. */
  readonly hashes: readonly number[];
  /** Empty: records and jobs say themselves whose effects they are. */
  readonly deliveryId: string;
  readonly ordinal: number;
  /** Of the command's operations, which one each event is of; empty: of the first. */
  readonly steps: readonly number[];
}

interface Run {
  /** By the order in which they came. */
  readonly hashes: number[];
  readonly positions: number[];
}

const RUN: Table<Run> = {
  id: 8,
  name: 'effects',
  encode: ({ hashes, positions }, w) => {
    w.varint(hashes.length);
    for (const hash of hashes) w.varint(hash);
    let last = 0;
    for (const position of positions) {
      w.varint(position - last);
      last = position;
    }
  },
  decode: (r) => {
    const hashes = Array.from({ length: r.varint() }, () => r.varint());
    let last = 0;
    const positions = hashes.map(() => {
      last += r.varint();
      return last;
    });
    return { hashes, positions };
  },
  sizeOf: () => RUN_NOTES * 16,
};

/** Tenant 0 is the shard itself. */
const PREFIX = u32be(0) + String.fromCharCode(RUN.id);

/** What names the message in `<job id>@<epoch>`, `<stream>/<partition>/<offset>@<group>/<epoch>`. */
export function messageOf(deliveryId: string): string {
  const end = deliveryId.lastIndexOf('@');
  return end === -1 ? deliveryId : deliveryId.slice(0, end);
}

/** 53 bits: two messages may share one, so the journal has the last word. */
export function hashOf(tenant: number, message: string): number {
  const bytes = Buffer.from(message);
  return ((murmur2(bytes) ^ tenant) & 0x1f_ffff) * 0x1_0000_0000 + crc32(bytes);
}

/** What a command says of its cause, while it is decided. */
export interface CauseNote {
  readonly tenant: number;
  readonly cause: MutationId['cause'];
  readonly commands: readonly Command[];
  /** Operation of the transaction that is being decided. */
  step: number;
  /** One for each event. */
  readonly steps: number[];
}

/** Null: nothing caused it. */
export function noteOf({ commands, cause }: Pick<Pending, 'commands' | 'cause'>): CauseNote | null {
  if (cause === undefined && !commands.some(({ causes }) => causes !== undefined)) return null;
  if (cause !== undefined && Buffer.byteLength(cause.deliveryId) > LIMITS.keyBytes) {
    const message = `the cause's delivery id is longer than ${LIMITS.keyBytes} bytes`;
    throw new FlowError('INVALID_ARGUMENT', message);
  }
  return { tenant: commands[0]?.caller.tenant ?? 0, cause, commands, step: 0, steps: [] };
}

export class Effects implements View {
  readonly name = 'effects';
  readonly events = [8, 15] as const;
  readonly #context: ViewContext;
  readonly #firstPosition: () => number;
  #open: Run = { hashes: [], positions: [] };
  #isDirty = false;
  /** Number of the open run, and of the oldest that there is. */
  #no = 0;
  /** First positions of all runs, the oldest first, the open one last if it has any. */
  #runs: { no: number; position: number }[] = [];

  constructor(context: ViewContext, firstPosition: () => number) {
    this.#context = context;
    this.#firstPosition = firstPosition;
  }

  async load(): Promise<void> {
    for await (const { no, run } of this.#stored()) {
      this.#runs.push({ no, position: run.positions[0] ?? 0 });
      this.#no = no;
      this.#open = run;
    }
    if (this.#open.hashes.length >= RUN_NOTES) this.#begin();
  }

  async *#stored(): AsyncGenerator<{ no: number; run: Run }, void, void> {
    for (let from = PREFIX; ; ) {
      const rows = await this.#context.rows.scan(RUN, { from, to: after(PREFIX), limit: SCAN_ROWS });
      for (const { key, value } of rows) yield { no: readU53be(key, PREFIX.length), run: value };
      const last = rows.at(-1);
      if (last === undefined || rows.length < SCAN_ROWS) return;
      from = `${last.key}\0`;
    }
  }

  /** Entries that may hold effects of the message, in order. */
  async positionsOf(tenant: number, message: string): Promise<number[]> {
    const hash = hashOf(tenant, message);
    const found = new Set<number>();
    const look = ({ hashes, positions }: Run) => {
      for (let i = hashes.indexOf(hash); i !== -1; i = hashes.indexOf(hash, i + 1))
        found.add(positions[i] as number);
    };
    // First what is in memory: meanwhile it may become a row.
    look(this.#open);
    for await (const { run } of this.#stored()) look(run);
    return [...found].sort((a, b) => a - b);
  }

  /** Behind the events of a command (F1). */
  note({ tenant, cause, commands, steps }: CauseNote, emit: Emit): void {
    const hashes = new Set<number>();
    for (const { causes } of commands)
      for (const message of causes ?? []) hashes.add(hashOf(tenant, message));
    if (cause !== undefined) hashes.add(hashOf(tenant, messageOf(cause.deliveryId)));
    const isPlain = steps.length > STEPS_MAX || steps.every((step) => step === 0);
    const event: Caused = {
      type: CAUSED,
      tenant,
      events: steps.length,
      hashes: [...hashes],
      deliveryId: cause?.deliveryId ?? '',
      ordinal: cause?.ordinal ?? 0,
      steps: cause === undefined || isPlain ? [] : steps,
    };
    emit(event);
  }

  reads(): [] {
    return [];
  }
  decide(): unknown {
    throw new FlowError('INTERNAL', 'the effects view takes no commands');
  }
  encodeReply(): Uint8Array {
    return new Uint8Array();
  }
  decodeReply(): unknown {
    return undefined;
  }

  evolve(event: Event, at: Moment): void {
    for (const hash of (event as Caused).hashes) {
      if (this.#open.hashes.length === 0) this.#runs.push({ no: this.#no, position: at.position });
      this.#open.hashes.push(hash);
      this.#open.positions.push(at.position);
      this.#isDirty = true;
      if (this.#open.hashes.length >= RUN_NOTES) {
        this.flush();
        this.#begin();
      }
    }
  }

  #begin(): void {
    this.#no++;
    this.#open = { hashes: [], positions: [] };
  }

  encode(event: Event, into: ByteWriter): void {
    const { tenant, events, hashes, deliveryId, ordinal, steps } = event as Caused;
    for (const number of [tenant, events, ordinal]) into.varint(number);
    into.text(deliveryId);
    for (const list of [hashes, steps]) {
      into.varint(list.length);
      for (const number of list) into.varint(number);
    }
  }

  decode(type: number, from: ByteReader): Event {
    const [tenant, events, ordinal] = [from.varint(), from.varint(), from.varint()];
    const deliveryId = from.text();
    const list = () => Array.from({ length: from.varint() }, () => from.varint());
    return { type, tenant, events, ordinal, deliveryId, hashes: list(), steps: list() } as Caused;
  }

  /** The open run as it is; it is put again when it has grown. */
  flush(): void {
    const { rows } = this.#context;
    if (this.#isDirty) {
      const { hashes, positions } = this.#open;
      rows.put(RUN, PREFIX + u53be(this.#no), { hashes: [...hashes], positions: [...positions] });
      this.#isDirty = false;
    }
    const first = this.#firstPosition();
    for (let i = 0; i < DROPPED_MAX; i++) {
      const [oldest, next] = this.#runs;
      if (oldest === undefined || next === undefined || next.position >= first) return; // F3
      rows.del(RUN, PREFIX + u53be(oldest.no));
      this.#runs.shift();
    }
  }
}
