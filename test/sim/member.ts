// A member of a consumer group: takes its partitions, commits what it has handled, comes and goes.
import {
  CommitResponse,
  ConsumeResponse,
  type ConsumeResponseInput,
} from '@flowmesh/protocol/gen/flowmesh.js';
import type { ConsumeSession } from '../../dataplane/services.ts';
import { Client, caller } from './sim.ts';
import type { StreamBook } from './stream-book.ts';
import { GROUP, type Reader, recordsIn, STREAM } from './stream-client.ts';

const CREDIT_BYTES = 32 * 1024;

interface Session {
  readonly port: ConsumeSession;
  isOver: boolean;
  readonly messages: ConsumeResponse[];
  /** Epoch, and the offset of the record that must come next. */
  readonly owned: Map<number, { epoch: number; next: number }>;
  readonly commits: Map<number, (codes: string[] | null) => void>;
}

export class Member extends Client {
  #incarnation = 0;
  #commitSeq = 0;
  /** What it owned before, as a member knows it that has not heard yet. */
  #stale: { partition: number; epoch: number; next: number } | null = null;

  /** Until the group has caught up, as `reader` sees it. */
  async run(book: StreamBook, reader: Reader): Promise<void> {
    while (!this.sim.isClosing || (await reader.look(book)) !== 0) {
      await this.pause(5, 200);
      const session = await this.#open();
      if (session === null) continue;
      await this.#consume(book, session, reader);
    }
  }

  async #open(): Promise<Session | null> {
    const { sim } = this;
    // Now and then the same one as before: it resumes its membership.
    if (this.#incarnation === 0 || this.chance.hit(0.5)) this.#incarnation++;
    const memberId = `${this.name}.${this.#incarnation}`;
    const hello = {
      stream: STREAM,
      group: GROUP,
      memberId,
      creditBytes: CREDIT_BYTES,
      startFrom: '',
      client: '',
    };
    const messages: ConsumeResponse[] = [];
    const state: { session: Session | null; isOver: boolean } = { session: null, isOver: false };
    const over = () => {
      state.isOver = true;
      if (state.session !== null) end(state.session);
    };
    const outcome = await this.once('join', async (fabric) => {
      sim.machine.onGone(over);
      const send = (message: ConsumeResponseInput) => {
        const decoded = ConsumeResponse.decode(ConsumeResponse.encode(message).finish());
        if (decoded.message === 'committed') {
          const codes = decoded.committed.results.map(({ code }) => code);
          state.session?.commits.get(decoded.committed.seq)?.(codes);
        } else messages.push(decoded);
        return true;
      };
      return fabric.streams.openConsume(caller, hello, send, over);
    });
    if (outcome.kind !== 'done') return null;
    const common = { messages, owned: new Map(), commits: new Map() };
    state.session = { port: outcome.value, isOver: state.isOver, ...common };
    return state.session;
  }

  async #consume(book: StreamBook, session: Session, reader: Reader): Promise<void> {
    const { chance, sim } = this;
    const memberId = `${this.name}.${this.#incarnation}`;
    while (!session.isOver) {
      await this.think(1, 60);
      const message = session.messages.shift();
      if (message === undefined) {
        tell(session, { message: 'heartbeat', heartbeat: {} });
        if (sim.isClosing && (await reader.look(book)) === 0) return leave(session);
        if (!sim.isClosing) continue;
        // A commit that was refused in passing is made again.
        for (const [partition, owned] of session.owned) {
          await this.#commit(book, session, partition, owned, memberId);
        }
        await this.pause(200, 400);
        continue;
      }
      if (message.message === 'assignment') await this.#take(book, session, message.assignment, memberId);
      if (message.message === 'chunk') await this.#handle(book, session, message.chunk, memberId);
      if (sim.isClosing || !chance.hit(0.02)) continue;
      sim.count('member goes');
      if (chance.hit(0.5)) return leave(session);
      end(session);
      session.port.disconnect();
    }
  }

  async #take(
    book: StreamBook,
    session: Session,
    {
      partitions,
      revoking,
    }: {
      partitions: readonly { partition: number; epoch: number; offset: number }[];
      revoking: readonly number[];
    },
    memberId: string,
  ): Promise<void> {
    this.sim.count('assignment');
    this.sim.world.note(`${memberId} owns ${partitions.map((p) => `${p.partition}:${p.epoch}`)}`);
    const kept = new Set(partitions.map(({ partition }) => partition));
    for (const [partition, owned] of session.owned) {
      if (!kept.has(partition)) this.#lose(session, partition, owned);
    }
    for (const { partition, epoch, offset } of partitions) {
      if (session.owned.get(partition)?.epoch === epoch) continue;
      const before = session.owned.get(partition);
      if (before !== undefined) this.#lose(session, partition, before);
      book.assigned(GROUP, partition, epoch, memberId, offset);
      session.owned.set(partition, { epoch, next: offset });
    }
    if (revoking.length === 0) return;
    await this.pause(0, 100);
    if (!session.isOver) tell(session, { message: 'revoked', revoked: { partitions: [...revoking] } });
  }

  #lose(session: Session, partition: number, { epoch, next }: { epoch: number; next: number }): void {
    session.owned.delete(partition);
    this.#stale = { partition, epoch, next };
  }

  async #handle(
    book: StreamBook,
    session: Session,
    chunk: { partition: number; batches: Buffer },
    memberId: string,
  ): Promise<void> {
    const { partition, batches } = chunk;
    tell(session, { message: 'creditBytes', creditBytes: batches.length });
    const owned = session.owned.get(partition);
    // What was on its way when the partition was taken back, or sought.
    if (owned === undefined) return;
    for (const [offset, value] of recordsIn(batches)) {
      book.saw(STREAM, partition, offset, value);
      if (offset < owned.next) continue;
      const gap = () => `${memberId} is sent ${offset} of partition ${partition}, ${owned.next} is next`;
      this.sim.expect(offset === owned.next, 'a member misses no record', gap);
      owned.next = offset + 1;
      this.sim.count('record');
    }
    book.sent(GROUP, partition, owned.next);
    const stale = this.#stale;
    if (stale !== null && this.chance.hit(0.3)) {
      this.#stale = null;
      this.sim.count('stale commit');
      await this.#commit(book, session, stale.partition, stale, memberId);
    }
    if (this.sim.isClosing || this.chance.hit(0.7))
      await this.#commit(book, session, partition, owned, memberId);
  }

  async #commit(
    book: StreamBook,
    session: Session,
    partition: number,
    { epoch, next }: { epoch: number; next: number },
    memberId: string,
  ): Promise<void> {
    const newest = book.cursor(GROUP, partition).newestEpoch;
    const begin = this.sim.order();
    const offsets = [{ partition, offset: next, epoch, metadata: '' }];
    const codes = this.chance.hit(0.5)
      ? await this.#commitInSession(session, offsets)
      : await this.#commitAlone(memberId, offsets);
    // Of what the journal did when it failed, nobody knows.
    const code = codes?.[0] === 'UNAVAILABLE' ? undefined : codes?.[0];
    this.sim.count(code === '' ? 'committed' : 'commit refused or unknown');
    this.sim.world.note(`${memberId} commits ${next} of ${partition}, epoch ${epoch}: ${code ?? 'unknown'}`);
    if (code === '') book.committed(GROUP, partition, epoch, newest);
    const op = { do: 'write', offset: next } as const;
    if (code === '') book.move(GROUP, partition, { begin, end: this.sim.order(), op });
    else if (code === undefined) book.move(GROUP, partition, { begin, end: Number.POSITIVE_INFINITY, op });
  }

  /** null: nobody knows. */
  #commitInSession(session: Session, offsets: readonly object[]): Promise<string[] | null> {
    const seq = ++this.#commitSeq;
    return new Promise((resolve) => {
      if (session.isOver) return resolve(null);
      session.commits.set(seq, resolve);
      tell(session, { message: 'commit', commit: { seq, offsets, mutation: null } });
    });
  }

  async #commitAlone(memberId: string, offsets: readonly object[]): Promise<string[] | null> {
    const request = { stream: STREAM, group: GROUP, memberId, offsets, mutation: this.mutation() } as never;
    for (;;) {
      const outcome = await this.until('commit', async (fabric) => {
        const reply = await fabric.streams.commit(caller, request);
        return CommitResponse.decode(CommitResponse.encode(reply).finish());
      });
      if (outcome.kind === 'refused') {
        this.sim.broken('a good request is served', `commit: ${outcome.error.message}`);
        return null;
      }
      const codes = outcome.value.results.map(({ code }) => code);
      // A shard that cannot say yet answers for its own offsets.
      if (codes[0] !== 'UNAVAILABLE' && codes[0] !== 'RESOURCE_EXHAUSTED' && codes[0] !== 'DISK_FULL')
        return codes;
      await this.pause(20, 300);
    }
  }
}

function end(session: Session): void {
  session.isOver = true;
  for (const resolve of session.commits.values()) resolve(null);
  session.commits.clear();
}

function leave(session: Session): void {
  tell(session, { message: 'leave', leave: {} });
  end(session);
}

const tell = (session: Session, message: object): void => {
  if (!session.isOver) session.port.receive(message as never);
};
