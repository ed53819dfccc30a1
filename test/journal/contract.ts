// What every journal does (J1-J4 of journal.ts), run against each of them.
import { describe, expect, onTestFinished, test } from 'vitest';
import { ENTRY_BYTES_MAX, type Entry, type Journal, JournalFenced } from '../../dataplane/journal/journal.ts';

/** One place where journals are kept, empty at first; `open` may be called again after a close. */
export interface JournalPlace {
  open(options?: { historyBytes?: number }): Promise<Journal>;
}

export function journalContract(name: string, newPlace: () => JournalPlace): void {
  const opened = async (place = newPlace(), options?: { historyBytes?: number }) => {
    const journal = await place.open(options);
    onTestFinished(() => journal.close());
    return journal;
  };

  describe(name, () => {
    test('starts empty', async () => {
      const journal = await opened();
      expect(journal.tail()).toMatchObject({ first: 1, last: 0, lastTimeMs: 0 });
      expect(journal.state()).toBe('ready');
      expect(await Array.fromAsync(journal.read(1))).toEqual([]);
    });

    test('[J2] gives dense sequences, across restarts', async () => {
      const place = newPlace();
      for (let round = 0; round < 3; round++) {
        const journal = await opened(place);
        const fence = await journal.fence();
        for (let i = 1; i <= 4; i++) {
          expect(await write(journal, fence, `${round * 4 + i}`)).toBe(round * 4 + i);
        }
        await journal.close();
      }
      const journal = await opened(place);
      expect((await texts(journal)).join()).toBe('1,2,3,4,5,6,7,8,9,10,11,12');
      expect(journal.tail()).toMatchObject({ first: 1, last: 12, lastTimeMs: 12_000 });
    });

    test('[J1] appends that do not wait for each other are kept in order', async () => {
      const journal = await opened();
      const fence = await journal.fence();
      const order: number[] = [];
      await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          const seq = await journal.append(frame(`${i + 1}`, i + 1), { expect: i + 1, fence });
          expect(journal.tail().last).toBeGreaterThanOrEqual(seq);
          order.push(seq);
        }),
      );
      expect(order).toEqual(order.toSorted((a, b) => a - b));
      expect(await texts(journal)).toEqual(order.map(String));
    });

    test('[J4] yields the entries from any sequence on, up to what was durable', async () => {
      const journal = await opened();
      const fence = await journal.fence();
      const pieces = [Buffer.from('a'), Buffer.of(), Buffer.from('bc')];
      await journal.append({ timeMs: 5, payload: pieces }, { expect: 1, fence });
      await journal.append({ timeMs: 6, payload: [] }, { expect: 2, fence });
      const entries: Entry[] = [];
      for await (const entry of journal.read(1)) {
        entries.push(entry);
        await write(journal, fence, 'later');
      }
      expect(entries).toEqual([
        { seq: 1, timeMs: 5, epoch: fence, payload: Buffer.from('abc') },
        { seq: 2, timeMs: 6, epoch: fence, payload: Buffer.of() },
      ]);
      expect(await texts(journal, 4)).toEqual(['later']);
      expect(await texts(journal, 5)).toEqual([]);
    });

    test('[J4] reads the same into memory that is used again', async () => {
      const journal = await opened();
      const fence = await journal.fence();
      const written = Array.from({ length: 5 }, (_, i) => `${i}`.repeat(700_000));
      for (const text of written) await write(journal, fence, text);
      const read: string[] = [];
      for await (const { payload } of journal.read(1, { isFleeting: true })) read.push(payload.toString());
      expect(read.map((text) => text === written[Number(text[0])])).toEqual(written.map(() => true));
    });

    test('refuses another sequence, an older fence and too large an entry without writing', async () => {
      const journal = await opened();
      const old = await journal.fence();
      await write(journal, old, 'one');
      await expect(journal.append(frame('x', 9), { expect: 1, fence: old })).rejects.toThrow(JournalFenced);
      await expect(journal.append(frame('x', 9), { expect: 3, fence: old })).rejects.toThrow(JournalFenced);
      const fence = await journal.fence();
      expect(fence).toBeGreaterThan(old);
      await expect(journal.append(frame('x', 9), { expect: 2, fence: old })).rejects.toThrow(JournalFenced);
      const large = { timeMs: 9, payload: [Buffer.alloc(ENTRY_BYTES_MAX), Buffer.of(1)] };
      await expect(journal.append(large, { expect: 2, fence })).rejects.toMatchObject({
        code: 'BATCH_TOO_LARGE',
      });
      await write(journal, fence, 'two');
      expect(await texts(journal)).toEqual(['one', 'two']);
    });

    test('a fence grows across restarts', async () => {
      const place = newPlace();
      const epochs: number[] = [];
      for (let round = 0; round < 3; round++) {
        const journal = await opened(place);
        epochs.push(await journal.fence(), await journal.fence());
        await journal.close();
      }
      expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
      expect(new Set(epochs).size).toBe(6);
    });

    test('takes the largest entry', async () => {
      const journal = await opened();
      const fence = await journal.fence();
      const payload = Buffer.alloc(ENTRY_BYTES_MAX, 'flow');
      await journal.append({ timeMs: 1, payload: [payload] }, { expect: 1, fence });
      const [entry] = await Array.fromAsync(journal.read(1));
      expect(entry?.payload.equals(payload)).toBe(true);
    });

    test('keeps what is not trimmed, and of the rest no more than the history', async () => {
      const journal = await opened(newPlace(), { historyBytes: 40_000 });
      const fence = await journal.fence();
      const body = 'x'.repeat(1000);
      for (let i = 1; i <= 100; i++) await write(journal, fence, body);
      expect(journal.tail().first).toBe(1);
      await journal.trim(90);
      const { first, last } = journal.tail();
      expect(first).toBeGreaterThan(30);
      expect(first).toBeLessThan(60);
      expect(last).toBe(100);
      expect(await texts(journal, first)).toHaveLength(101 - first);
      await expect(texts(journal, first - 1)).rejects.toMatchObject({ code: 'HISTORY_TRIMMED' });
    });

    test('after close everything is refused with one code', async () => {
      const journal = await opened();
      const states: string[] = [];
      journal.onState((state) => states.push(state));
      const fence = await journal.fence();
      const waiting = write(journal, fence, 'one');
      await Promise.all([journal.close(), journal.close()]);
      expect(await waiting).toBe(1);
      expect(states).toEqual(['closed']);
      expect(journal.state()).toBe('closed');
      const refused = { code: 'UNAVAILABLE' };
      await expect(write(journal, fence, 'two')).rejects.toMatchObject(refused);
      await expect(journal.fence()).rejects.toMatchObject(refused);
      await expect(journal.trim(1)).rejects.toMatchObject(refused);
      await expect(texts(journal)).rejects.toMatchObject(refused);
    });
  });
}

export const frame = (text: string, timeMs: number) => ({ timeMs, payload: [Buffer.from(text)] });

/** Appends as the next entry; its time is its sequence in seconds. */
export function write(journal: Journal, fence: number, text: string): Promise<number> {
  const expect = journal.tail().last + 1;
  return journal.append(frame(text, expect * 1000), { expect, fence });
}

export const texts = async (journal: Journal, from = journal.tail().first): Promise<string[]> =>
  (await Array.fromAsync(journal.read(from))).map(({ payload }) => payload.toString());
