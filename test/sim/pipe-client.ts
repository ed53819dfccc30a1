// A publisher with a pipeline, as that of the SDK: it sends on before it is answered, each batch behind the
// one before. What is refused in the middle, and sent again, must not be overtaken.
import { encodeBatch } from '@flowmesh/protocol';
import { PublishBatchReply, type PublishBatchReplyInput } from '@flowmesh/protocol/gen/flowmesh.js';
import { aSpec } from '../stream/support.ts';
import { Client, caller, isPassingCode } from './sim.ts';
import type { StreamBook } from './stream-book.ts';

export const PIPED = 'piped';
const DEPTH = 8;

interface Sending {
  readonly no: number;
  readonly value: string;
  /** At first it is no batch, and is refused. */
  isSpoilt: boolean;
  seq: number;
  ackedEnd: number;
}

export class PipePublisher extends Client {
  #made = 0;
  #sequence = 0;
  /** Of what was accepted last. */
  #last = { no: 0, offset: -1 };

  async declare(): Promise<void> {
    const outcome = await this.until(`declare ${PIPED}`, (fabric) =>
      fabric.admin.applyStream(caller, aSpec(PIPED, 1)),
    );
    if (outcome.kind === 'refused') this.sim.broken('a good request is served', outcome.error.message);
  }

  async run(book: StreamBook): Promise<void> {
    let open: Sending[] = [];
    while (!this.sim.isClosing || open.length > 0) {
      const room = this.sim.isClosing ? 0 : this.chance.int(1, DEPTH) - open.length;
      for (let i = 0; i < room; i++) open.push(this.#make(book));
      open = await this.#send(book, open);
      await this.think(5, 200);
    }
  }

  #make(book: StreamBook): Sending {
    const no = ++this.#made;
    const value = `${this.name}.${no}${'z'.repeat(this.chance.hit(0.05) ? 1500 : 0)}`;
    book.begin(value);
    return { no, value, isSpoilt: this.chance.hit(0.06), seq: 0, ackedEnd: 0 };
  }

  /** All at once, on one connection; what has to be sent again. */
  async #send(book: StreamBook, open: readonly Sending[]): Promise<Sending[]> {
    const own = { ...caller };
    const answers: (PublishBatchReply | null)[] = open.map(() => null);
    let afterSeq = 0;
    const requests = open.map((each) => {
      if (each.seq === 0) each.seq = ++this.#sequence;
      each.ackedEnd = book.partition(PIPED, 0).ackedEnd;
      const batch = each.isSpoilt ? Buffer.alloc(3) : encodeBatch([{ value: Buffer.from(each.value) }]);
      const mutation = { producerId: this.name, seq: each.seq, cause: null };
      const request = { stream: PIPED, partition: 0, batch, mutation, afterSeq, partial: false };
      afterSeq = each.seq;
      return request;
    });
    await this.once(`pipe ${open.length}`, (fabric) => {
      const sent = requests.map(
        (request, i) =>
          new Promise<void>((resolve) => {
            fabric.streams.publishBatch(own, request, (reply: PublishBatchReplyInput) => {
              answers[i] = PublishBatchReply.decode(PublishBatchReply.encode(reply).finish());
              resolve();
            });
          }),
      );
      return Promise.all(sent);
    });
    return open.filter((each, i) => this.#isOpen(book, each, answers[i] ?? null));
  }

  #isOpen(book: StreamBook, sending: Sending, answer: PublishBatchReply | null): boolean {
    const code = answer?.error?.code ?? '';
    if (answer === null) return true; // Nobody knows: the same sequence again.
    if (code === '') {
      const { firstOffset } = answer;
      const { no } = sending;
      const last = this.#last;
      const how = () => `${no} is at ${firstOffset}, ${last.no} had been put at ${last.offset}`;
      const isBehind = no > last.no && firstOffset > last.offset;
      this.sim.expect(isBehind, 'nothing of a pipeline is overtaken', how);
      this.#last = { no, offset: firstOffset };
      book.acked(PIPED, 0, firstOffset, sending.value, sending.ackedEnd);
      return false;
    }
    this.sim.count(`pipe ${code}`);
    const isExpected = code === 'OUT_OF_ORDER' || (sending.isSpoilt && code === 'MALFORMED');
    this.sim.expect(isExpected || isPassingCode(code), 'a good request is served', () => code);
    if (code === 'MALFORMED') sending.isSpoilt = false;
    if (code !== 'UNAVAILABLE') sending.seq = 0;
    return true;
  }
}
