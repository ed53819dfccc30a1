// The schema view of one shard. Every shard has every schema, so that writes are checked where they are
// decided, without asking anybody: by what is declared at that moment.

import type { BatchHead } from '@flowmesh/protocol';
import type { DeclaredThings } from '../admin/declared.ts';
import type { Emit, Event, Moment, View, ViewContext } from '../shard/state-machine.ts';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';
import { type Checked, checkBatch, type SchemaRef, type Schemas } from './check.ts';
import type { Checkers } from './checkers.ts';
import { type SchemaCommand, VIEW } from './commands.ts';
import { decideCopy, decideDeclare, decideDelete, decideDisown, decideDrop } from './declare.ts';
import { declaredSchemas } from './declared.ts';
import { decodeEvent, EVENT_RANGE, encodeEvent, type SchemaEvent } from './events.ts';
import { SchemaState } from './state.ts';

export class SchemaView implements View, Schemas {
  readonly name = VIEW;
  readonly events = EVENT_RANGE;
  readonly state: SchemaState;
  readonly #context: ViewContext;
  readonly #checkers: Checkers;

  constructor(context: ViewContext, checkers: Checkers) {
    this.#context = context;
    this.#checkers = checkers;
    this.state = new SchemaState(context.rows);
  }

  /** Those whose home is here. */
  get declared(): DeclaredThings {
    return declaredSchemas(this.state, this.#context);
  }

  check(tenant: number, ref: SchemaRef, batch: Buffer, head: BatchHead): Checked {
    return checkBatch({ state: this.state, checkers: this.#checkers }, { tenant, ref, batch, head });
  }

  load(): Promise<void> {
    return this.state.load();
  }

  reads(): [] {
    return [];
  }

  decide(command: SchemaCommand, _at: Moment, emit: Emit): unknown {
    switch (command.kind) {
      case 'declare':
        return decideDeclare(this.state, command, emit);
      case 'copy':
        return decideCopy(this.state, command, emit);
      case 'delete':
        return decideDelete(this.state, command, emit);
      case 'drop':
        return decideDrop(this.state, command, emit);
      case 'disown':
        return decideDisown(this.state, command, emit);
    }
  }

  encodeReply(reply: unknown): Uint8Array {
    return Buffer.from(JSON.stringify(reply));
  }

  decodeReply(bytes: Uint8Array): unknown {
    return JSON.parse(Buffer.from(bytes).toString());
  }

  evolve(event: Event, at: Moment): void {
    this.state.evolve(event as SchemaEvent, at);
  }

  encode(event: Event, into: ByteWriter): void {
    encodeEvent(event as SchemaEvent, into);
  }

  decode(type: number, from: ByteReader): Event {
    return decodeEvent(type, from);
  }

  /** Rows are written with each event. */
  flush(): void {}
}
