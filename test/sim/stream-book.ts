// What clients saw of streams: which record lies where, who was given which partition, what was committed.
import { type Call, nonlinear } from './linear.ts';
import type { Sim } from './sim.ts';

type CursorOp = { readonly do: 'write' | 'read'; readonly offset: number };

interface Partition {
  /** By offset: once seen there, for ever there. */
  readonly records: Map<number, string>;
  /** Behind the last record that was acknowledged. */
  ackedEnd: number;
}

interface Cursor {
  readonly calls: Call<CursorOp>[];
  readonly owners: Map<number, string>;
  newestEpoch: number;
  /** Behind the last record that was sent to a member, or where somebody sought to. */
  reached: number;
}

export class StreamBook {
  readonly #sim: Sim;
  readonly #partitions = new Map<string, Partition>();
  readonly #cursors = new Map<string, Cursor>();
  readonly #places = new Map<string, string>();
  /** What was published, acknowledged or not. */
  readonly #begun = new Set<string>();
  readonly #acked = new Map<string, string>();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  partition(stream: string, partition: number): Partition {
    const name = `${stream} ${partition}`;
    let found = this.#partitions.get(name);
    if (found === undefined) {
      found = { records: new Map(), ackedEnd: 0 };
      this.#partitions.set(name, found);
    }
    return found;
  }

  cursor(group: string, partition: number): Cursor {
    const name = `${group} ${partition}`;
    let found = this.#cursors.get(name);
    if (found === undefined) {
      found = { calls: [], owners: new Map(), newestEpoch: 0, reached: 0 };
      this.#cursors.set(name, found);
    }
    return found;
  }

  begin(value: string): void {
    this.#begun.add(value);
  }

  /** `endBefore`: how far it was acknowledged before this was asked for. */
  acked(stream: string, partition: number, offset: number, value: string, endBefore: number): void {
    const at = () =>
      `${value} at ${offset} of ${stream} ${partition}, which had ${endBefore} before it was asked`;
    this.#sim.expect(offset >= endBefore, 'records lie in the order of their acks', at);
    this.saw(stream, partition, offset, value);
    this.#acked.set(value, `${stream} ${partition} ${offset}`);
    const known = this.partition(stream, partition);
    known.ackedEnd = Math.max(known.ackedEnd, offset + 1);
  }

  /** It was answered, read or sent to a member. */
  saw(stream: string, partition: number, offset: number, value: string): void {
    const { records } = this.partition(stream, partition);
    const before = records.get(offset);
    const both = () => `${stream} ${partition}, offset ${offset}: ${before}, then ${value}`;
    this.#sim.expect(before === undefined || before === value, 'what was shown stays as it is', both);
    records.set(offset, value);
    this.#sim.expect(
      this.#begun.has(value),
      'only what was published is there',
      () => `${value} at ${offset}`,
    );
    const place = `${stream} ${partition} ${offset}`;
    const other = this.#places.get(value);
    const twice = () => `${value} is at ${other} and at ${place}`;
    this.#sim.expect(other === undefined || other === place, 'a record is there once', twice);
    this.#places.set(value, place);
  }

  assigned(group: string, partition: number, epoch: number, member: string, offset: number): void {
    const cursor = this.cursor(group, partition);
    const owner = cursor.owners.get(epoch);
    const both = () => `${group} ${partition}, epoch ${epoch}: ${owner} and ${member}`;
    this.#sim.expect(owner === undefined || owner === member, 'an epoch has one owner', both);
    cursor.owners.set(epoch, member);
    cursor.newestEpoch = Math.max(cursor.newestEpoch, epoch);
    const how = () => `${group} ${partition} starts at ${offset}, ${cursor.reached} was reached`;
    this.#sim.expect(offset <= cursor.reached, 'a committed offset never passes what was delivered', how);
  }

  sent(group: string, partition: number, end: number): void {
    const cursor = this.cursor(group, partition);
    cursor.reached = Math.max(cursor.reached, end);
  }

  /** `newest`: the newest epoch that anybody had been told of before the commit was asked for. */
  committed(group: string, partition: number, epoch: number, newest: number): void {
    const how = () => `${group} ${partition}: epoch ${epoch} commits, ${newest} had been given out`;
    this.#sim.expect(epoch >= newest, 'a fenced member commits nothing', how);
  }

  move(group: string, partition: number, call: Call<CursorOp>): void {
    const cursor = this.cursor(group, partition);
    cursor.calls.push(call);
    const how = () => `${group} ${partition} is at ${call.op.offset}, ${cursor.reached} was reached`;
    const isWithin = call.op.offset <= cursor.reached;
    this.#sim.expect(isWithin, 'a committed offset never passes what was delivered', how);
  }

  placeOf(value: string): string | undefined {
    return this.#places.get(value);
  }

  isAcked(value: string): boolean {
    return this.#acked.has(value);
  }

  /** The whole partition as it is in the end. */
  checkAll(stream: string, partition: number, values: readonly string[]): void {
    values.forEach((value, offset) => {
      this.saw(stream, partition, offset, value);
    });
    this.checkEnd(stream, partition, values.length);
  }

  /** All that is there was read, up to `end`. */
  checkEnd(stream: string, partition: number, end: number): void {
    for (const [offset, value] of this.partition(stream, partition).records) {
      const how = () => `${value} at ${offset} of ${stream} ${partition}, which ends at ${end}`;
      this.#sim.expect(offset < end, 'nothing that was shown is lost', how);
    }
  }

  checkCursors(): void {
    for (const [name, { calls }] of this.#cursors) {
      const step = (state: number, op: CursorOp) =>
        op.do === 'write' ? op.offset : op.offset === state ? state : undefined;
      const bad = nonlinear(calls, 0, step, String);
      if (bad === null) continue;
      this.#sim.broken('a cursor is where it was put last', JSON.stringify({ name, ...bad }));
    }
  }
}
